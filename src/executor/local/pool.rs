//! Keeps one warm zygote ready: replaces it after its number of conversions or when it died, and backs off when starts
//! fail.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::error::EngineError;
use super::protocol::Convert;
use super::zygote::{Ending, Events, Zygote, ZygoteSettings};
use crate::domain::{ConversionError, ErrorCode};
use crate::executor::stats::{Counters, RestartReason};

const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// The state of the warm zygote.
enum ZygoteState {
    Ready(Arc<Zygote>),
    /// A start is under way; callers wait for it.
    Starting,
    /// Starts fail, for this reason.
    Unavailable(String),
    Stopped,
}

pub(super) struct Pool {
    recipe: ZygoteSettings,
    max_requests: u64,
    current: watch::Sender<ZygoteState>,
    /// Notified when the current zygote has served `max_requests`.
    recycle: Notify,
    pub counters: Counters,
    /// Cancelled when the program ends.
    pub stop: CancellationToken,
}

impl Pool {
    /// Starts the first zygote and the task that replaces it, until `stop`.
    pub async fn start(
        recipe: ZygoteSettings,
        max_requests: u64,
        stop: CancellationToken,
    ) -> Result<Arc<Pool>, EngineError> {
        let first = Arc::new(Zygote::start(&recipe, false).await?);
        let current = watch::Sender::new(ZygoteState::Ready(Arc::clone(&first)));
        let (recycle, counters) = (Notify::new(), Counters::default());
        let pool = Arc::new(Pool { recipe, max_requests, current, recycle, counters, stop });
        pool.recipe.tracker.spawn(Arc::clone(&pool).replace_zygotes(first));
        Ok(pool)
    }

    /// Returns the warm zygote. Waits during a start, but not while starts fail: that is `engine_unavailable`.
    pub async fn zygote(&self) -> Result<Arc<Zygote>, ConversionError> {
        let mut current = self.current.subscribe();
        let is_known = |current: &ZygoteState| match current {
            ZygoteState::Ready(zygote) => !zygote.has_ended(),
            ZygoteState::Starting => false,
            ZygoteState::Unavailable(_) | ZygoteState::Stopped => true,
        };
        match current.wait_for(is_known).await.as_deref() {
            Ok(ZygoteState::Ready(zygote)) => Ok(Arc::clone(zygote)),
            Ok(ZygoteState::Unavailable(reason)) => Err(unavailable(reason)),
            _ => Err(stopping()),
        }
    }

    /// Starts a separate zygote for one conversion. It forks before it loads anything that a fork can break.
    pub async fn cold_zygote(&self) -> Result<Arc<Zygote>, ConversionError> {
        Zygote::start(&self.recipe, true).await.map(Arc::new).map_err(|error| {
            self.counters.failed_start();
            tracing::error!(%error, log = ?error.log(), "a cold zygote does not start");
            unavailable(&error.public())
        })
    }

    /// Returns `engine_unavailable` unless a zygote is ready or starting.
    pub fn available(&self) -> Result<(), ConversionError> {
        match &*self.current.borrow() {
            ZygoteState::Ready(_) | ZygoteState::Starting => Ok(()),
            ZygoteState::Unavailable(reason) => Err(unavailable(reason)),
            ZygoteState::Stopped => Err(stopping()),
        }
    }

    pub fn pid(&self) -> Option<u32> {
        match &*self.current.borrow() {
            ZygoteState::Ready(zygote) if !zygote.has_ended() => Some(zygote.pid),
            _ => None,
        }
    }

    /// Starts a child of the zygote that runs a conversion, and has the zygote replaced after `max_requests`.
    pub fn start_child(&self, zygote: &Zygote, convert: Convert) -> Events {
        let events = zygote.start_child(convert);
        if zygote.served() >= self.max_requests {
            self.recycle.notify_one();
        }
        events
    }

    async fn replace_zygotes(self: Arc<Self>, mut zygote: Arc<Zygote>) {
        let mut delay = Duration::ZERO;
        loop {
            let died = tokio::select! {
                ending = zygote.ended() => {
                    self.record_end(&zygote, &ending);
                    true
                }
                () = self.recycle.notified() => false,
                () = self.stop.cancelled() => break,
            };
            if !died && zygote.served() < self.max_requests {
                // The notification was for a predecessor.
                continue;
            }
            if zygote.served() > 0 {
                delay = Duration::ZERO;
            } else {
                // A zygote that dies before its first conversion counts as a failed start.
                delay = next_delay(delay);
                self.current.send_replace(ZygoteState::Unavailable("the engine died at once".to_owned()));
            }
            let Some(next) = self.successor(&zygote, died, delay).await else { break };
            (zygote, delay) = next;
            self.current.send_replace(ZygoteState::Ready(Arc::clone(&zygote)));
        }
        self.current.send_replace(ZygoteState::Stopped);
    }

    /// Starts zygotes until one is ready; meanwhile `old` serves if it lives. `None` when stopped.
    async fn successor(
        &self,
        old: &Zygote,
        mut died: bool,
        mut delay: Duration,
    ) -> Option<(Arc<Zygote>, Duration)> {
        loop {
            let start = async move {
                sleep(delay).await;
                Zygote::start(&self.recipe, false).await
            };
            tokio::pin!(start);
            let started = loop {
                tokio::select! {
                    started = &mut start => break started,
                    ending = old.ended(), if !died => {
                        died = true;
                        self.record_end(old, &ending);
                    }
                    () = self.stop.cancelled() => return None,
                }
            };
            match started {
                Ok(zygote) => {
                    if !died {
                        self.counters.restart(RestartReason::Recycled);
                        let (new, served) = (zygote.pid, old.served());
                        tracing::info!(old = old.pid, new, served, "recycled a zygote");
                    }
                    return Some((Arc::new(zygote), delay));
                }
                Err(error) => {
                    delay = next_delay(delay);
                    self.counters.failed_start();
                    let again_in_s = delay.as_secs_f64();
                    tracing::error!(%error, log = ?error.log(), again_in_s, "a zygote does not start");
                    if died {
                        self.current.send_replace(ZygoteState::Unavailable(error.public()));
                    }
                }
            }
        }
    }

    fn record_end(&self, zygote: &Zygote, ending: &Ending) {
        let reason = match ending {
            Ending::Unresponsive(missed) => {
                tracing::error!(pid = zygote.pid, "killed a zygote that did not {missed}");
                RestartReason::Unresponsive
            }
            Ending::Died(what) => {
                tracing::error!(pid = zygote.pid, what, "a zygote died");
                RestartReason::Died
            }
            // It leaves only when its last handle is dropped, and we hold one.
            Ending::Exited => RestartReason::Died,
        };
        self.counters.restart(reason);
        self.current.send_replace(ZygoteState::Starting);
    }
}

fn next_delay(delay: Duration) -> Duration {
    (delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY)
}

fn unavailable(reason: &str) -> ConversionError {
    ConversionError::new(ErrorCode::EngineUnavailable, format!("no engine is running: {reason}"))
}

pub(super) fn stopping() -> ConversionError {
    ConversionError::new(ErrorCode::EngineUnavailable, EngineError::Stopped.public())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_delays_double_up_to_a_limit() {
        let mut delay = Duration::ZERO;
        let mut delays = Vec::new();
        for _ in 0..9 {
            delay = next_delay(delay);
            delays.push(delay.as_millis());
        }
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
    }
}
