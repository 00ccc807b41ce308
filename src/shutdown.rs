//! Shutdown, from the signal to the last response.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long responses may still take to reach their clients after all work has ended or was cancelled.
const LAST_RESPONSES: Duration = Duration::from_secs(2);

/// The same for a forced stop.
const LAST_RESPONSES_FORCED: Duration = Duration::from_secs(1);

/// How long a forced stop may take before the process exits without cleaning up.
const FORCED_WITHIN: Duration = Duration::from_secs(2);

/// The steps of a shutdown, each of which includes those before.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Not ready any more; requests are still accepted.
    pub draining: CancellationToken,
    /// No new connection is accepted.
    pub closed: CancellationToken,
    /// Running conversions are cancelled.
    pub cancelling: CancellationToken,
    /// Responses that are still being sent are dropped, too.
    pub dropping_responses: CancellationToken,
    /// The exit code: 0, or 128 plus the number of the second signal.
    exit: Arc<AtomicU8>,
}

impl Shutdown {
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// The exit code of a forced stop, if there was one.
    pub fn forced(&self) -> Option<u8> {
        Some(self.exit.load(Ordering::Relaxed)).filter(|code| *code != 0)
    }

    async fn in_steps(&self, delay: Duration, grace: Duration) {
        self.draining.cancel();
        tokio::time::sleep(delay).await;
        self.closed.cancel();
        tokio::time::sleep(grace).await;
        tracing::warn!("grace period over; cancelling conversions");
        self.cancelling.cancel();
        tokio::time::sleep(LAST_RESPONSES).await;
        self.dropping_responses.cancel();
    }

    /// Cancels running conversions, so that every request is answered, and soon drops responses that are still being
    /// sent.
    async fn force(&self, code: u8) {
        self.exit.store(code, Ordering::Relaxed);
        for step in [&self.draining, &self.closed, &self.cancelling] {
            step.cancel();
        }
        tokio::time::sleep(LAST_RESPONSES_FORCED).await;
        self.dropping_responses.cancel();
    }
}

/// Drives a shutdown: the first signal starts it, a second one forces the stop, with a moment for responses.
///
/// # Errors
/// The error of the system.
pub fn on_signals(shutdown: Shutdown, delay: Duration, grace: Duration) -> io::Result<JoinHandle<()>> {
    let mut signals = Signals::new()?;
    Ok(tokio::spawn(async move {
        let (name, _) = signals.next().await;
        tracing::info!(signal = name, "stopping");
        let steps = async {
            shutdown.in_steps(delay, grace).await;
            std::future::pending().await
        };
        let (name, code) = tokio::select! {
            again = signals.next() => again,
            never = steps => never,
        };
        tracing::warn!(signal = name, "forced stop");
        // A thread, in case the runtime is stuck. Child processes die with this process.
        std::thread::spawn(move || {
            std::thread::sleep(FORCED_WITHIN);
            std::process::exit(i32::from(code));
        });
        shutdown.force(code).await;
    }))
}

/// The signals that stop a process: SIGTERM and SIGINT.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// # Errors
    /// The error of the system.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal; returns its name, and the exit code of a process that it ends.
    pub async fn next(&mut self) -> (&'static str, u8) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", 143),
            _ = self.interrupt.recv() => ("SIGINT", 130),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_shutdown_step_includes_the_earlier_steps() {
        let shutdown = Shutdown::default();
        let steps =
            [&shutdown.draining, &shutdown.closed, &shutdown.cancelling, &shutdown.dropping_responses];
        let reached = || steps.iter().filter(|step| step.is_cancelled()).count();
        assert_eq!(reached(), 0);
        let hour = Duration::from_hours(1);
        for (delay, grace, step) in
            [(hour, hour, 1), (Duration::ZERO, hour, 2), (Duration::ZERO, Duration::ZERO, 3)]
        {
            let stop = shutdown.in_steps(delay, grace);
            // The step reached without waiting an hour.
            tokio::select! {
                () = stop => panic!("it is over"),
                () = steps[step - 1].cancelled() => {}
            }
            assert_eq!(reached(), step);
        }
        assert_eq!(shutdown.forced(), None);
        // The last step waits for responses, even in a forced stop.
        let shutdown = Shutdown::default();
        tokio::select! {
            () = shutdown.force(143) => panic!("no time for answers"),
            () = shutdown.cancelling.cancelled() => assert!(!shutdown.dropping_responses.is_cancelled()),
        }
        shutdown.force(143).await;
        assert!(shutdown.dropping_responses.is_cancelled() && shutdown.is_draining());
        assert_eq!(shutdown.forced(), Some(143));
    }
}
