//! Keeps one warm zygote ready: replaces it when it is worn or gone, and backs off when that fails.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::error::EngineError;
use super::protocol::Convert;
use super::zygote::{Ending, Recipe, Zygote};
use crate::domain::{ConversionError, ErrorCode};
use crate::executor::stats::{Counters, RestartReason};

const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// What conversions find when they ask for a zygote.
enum Current {
    Ready(Arc<Zygote>),
    /// There will be one in a moment; waiting is worth it.
    Starting,
    /// Starts fail, for this reason.
    Unavailable(String),
    Stopped,
}

pub(super) struct Pool {
    recipe: Recipe,
    max_requests: u64,
    current: watch::Sender<Current>,
    /// Tells the keeper that the current zygote has had its number of conversions.
    worn: Notify,
    counters: Arc<Counters>,
    stop: CancellationToken,
}

impl Pool {
    /// Starts the first zygote and the task that looks after its successors, until `stop`.
    pub async fn start(
        recipe: Recipe,
        max_requests: u64,
        counters: Arc<Counters>,
        stop: CancellationToken,
    ) -> Result<Arc<Pool>, EngineError> {
        let first = Arc::new(Zygote::start(&recipe, false).await?);
        let tracker = recipe.tracker.clone();
        let current = watch::Sender::new(Current::Ready(Arc::clone(&first)));
        let worn = Notify::new();
        let pool = Arc::new(Pool { recipe, max_requests, current, worn, counters, stop });
        tracker.spawn(Arc::clone(&pool).keep(first));
        Ok(pool)
    }

    /// The warm zygote. Waits while one is being started, but not while starts fail.
    ///
    /// # Errors
    /// `engine_unavailable`
    pub async fn zygote(&self) -> Result<Arc<Zygote>, ConversionError> {
        let mut current = self.current.subscribe();
        loop {
            match &*current.borrow_and_update() {
                Current::Ready(zygote) if !zygote.has_ended() => return Ok(Arc::clone(zygote)),
                Current::Ready(_) | Current::Starting => {}
                Current::Unavailable(reason) => return Err(unavailable(reason)),
                Current::Stopped => return Err(stopping()),
            }
            if current.changed().await.is_err() {
                return Err(stopping());
            }
        }
    }

    /// A zygote of its own for one conversion, in which nothing that a fork can break was ever loaded.
    ///
    /// # Errors
    /// `engine_unavailable`
    pub async fn cold_zygote(&self) -> Result<Arc<Zygote>, ConversionError> {
        match Zygote::start(&self.recipe, true).await {
            Ok(zygote) => Ok(Arc::new(zygote)),
            Err(error) => {
                self.counters.failed_start();
                tracing::error!(%error, log = ?error.log(), "a cold zygote does not start");
                Err(unavailable(&error.public()))
            }
        }
    }

    /// Whether asking for a zygote makes sense now.
    ///
    /// # Errors
    /// `engine_unavailable`
    pub fn available(&self) -> Result<(), ConversionError> {
        match &*self.current.borrow() {
            Current::Ready(_) | Current::Starting => Ok(()),
            Current::Unavailable(reason) => Err(unavailable(reason)),
            Current::Stopped => Err(stopping()),
        }
    }

    /// The process of the warm zygote.
    pub fn pid(&self) -> Option<u32> {
        match &*self.current.borrow() {
            Current::Ready(zygote) if !zygote.has_ended() => Some(zygote.pid),
            _ => None,
        }
    }

    /// Gives the zygote a conversion.
    pub fn convert(
        &self,
        zygote: &Zygote,
        convert: Convert,
    ) -> tokio::sync::mpsc::UnboundedReceiver<super::protocol::Event> {
        let events = zygote.convert(convert);
        if zygote.served() >= self.max_requests {
            self.worn.notify_one();
        }
        events
    }

    async fn keep(self: Arc<Self>, mut zygote: Arc<Zygote>) {
        let mut delay = Duration::ZERO;
        loop {
            let died = tokio::select! {
                ending = zygote.ended() => {
                    self.lost(&zygote, &ending);
                    true
                }
                () = self.worn.notified() => false,
                () = self.stop.cancelled() => break,
            };
            if !died && zygote.served() < self.max_requests {
                // Meant for a predecessor.
                continue;
            }
            if zygote.served() > 0 {
                delay = Duration::ZERO;
            } else {
                // One that gets ready and dies at once is no better than one that does not start.
                delay = longer(delay);
                self.current.send_replace(Current::Unavailable("the engine died at once".to_owned()));
            }
            let Some(next) = self.successor(&zygote, died, delay).await else { break };
            (zygote, delay) = next;
            self.current.send_replace(Current::Ready(Arc::clone(&zygote)));
        }
        self.current.send_replace(Current::Stopped);
    }

    /// Starts zygotes until one gets ready, while `old` serves as long as it lives. `None` at the stop.
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
                        self.lost(old, &ending);
                    }
                    () = self.stop.cancelled() => return None,
                }
            };
            match started {
                Ok(zygote) => {
                    if !died {
                        self.counters.restart(RestartReason::Recycled);
                        tracing::info!(
                            old = old.pid,
                            new = zygote.pid,
                            served = old.served(),
                            "recycled a zygote"
                        );
                    }
                    return Some((Arc::new(zygote), delay));
                }
                Err(error) => {
                    delay = longer(delay);
                    self.counters.failed_start();
                    let again_in_s = delay.as_secs_f64();
                    tracing::error!(%error, log = ?error.log(), again_in_s, "a zygote does not start");
                    if died {
                        self.current.send_replace(Current::Unavailable(error.public()));
                    }
                }
            }
        }
    }

    /// Notes the end of the current zygote.
    fn lost(&self, zygote: &Zygote, ending: &Ending) {
        let reason = match ending {
            Ending::Unresponsive(missed) => {
                tracing::error!(pid = zygote.pid, "killed a zygote that did not {missed}");
                RestartReason::Unresponsive
            }
            Ending::Died(what) => {
                tracing::error!(pid = zygote.pid, what, "a zygote died");
                RestartReason::Died
            }
            // It cannot leave while we hold it.
            Ending::Left => RestartReason::Died,
        };
        self.counters.restart(reason);
        self.current.send_replace(Current::Starting);
    }
}

fn longer(delay: Duration) -> Duration {
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
    fn delays_grow_to_their_limit() {
        let mut delay = Duration::ZERO;
        let mut delays = Vec::new();
        for _ in 0..9 {
            delay = longer(delay);
            delays.push(delay.as_millis());
        }
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
    }
}
