//! Stopping: from the signal to the last answer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long answers may still take to get to their clients when all work has ended or was given up.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// The same, of an end at once.
const LAST_ANSWERS_AT_ONCE: Duration = Duration::from_secs(1);

/// How long an end at once may take, before nothing is tidied up any more.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The steps of a stop, each of which includes those before.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Not ready any more; requests are still taken.
    pub draining: CancellationToken,
    /// No connection is taken any more.
    pub closed: CancellationToken,
    /// What still runs is given up.
    pub killed: CancellationToken,
    /// Answers that were not taken are given up, too.
    pub over: CancellationToken,
    /// What the program ends with: 0, or 128 and the number of the second signal.
    exit: Arc<AtomicU8>,
}

impl Shutdown {
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// The exit code of a process that was told to end at once.
    pub fn forced(&self) -> Option<u8> {
        Some(self.exit.load(Ordering::Relaxed)).filter(|code| *code != 0)
    }

    async fn in_steps(&self, delay: Duration, grace: Duration) {
        self.draining.cancel();
        tokio::time::sleep(delay).await;
        self.closed.cancel();
        tokio::time::sleep(grace).await;
        tracing::warn!("giving up what still runs");
        self.killed.cancel();
        tokio::time::sleep(LAST_ANSWERS).await;
        self.over.cancel();
    }

    /// Gives up what runs, so that everybody is answered, and those who do not take it soon.
    async fn at_once(&self, code: u8) {
        self.exit.store(code, Ordering::Relaxed);
        for step in [&self.draining, &self.closed, &self.killed] {
            step.cancel();
        }
        tokio::time::sleep(LAST_ANSWERS_AT_ONCE).await;
        self.over.cancel();
    }
}

/// Drives a shutdown: the first signal starts it, a second one ends the process at once, with a moment for answers.
///
/// # Errors
/// As the system says.
pub fn on_signals(shutdown: Shutdown, delay: Duration, grace: Duration) -> io::Result<JoinHandle<()>> {
    let mut signals = Signals::new()?;
    Ok(tokio::spawn(async move {
        let (name, _) = signals.next().await;
        tracing::info!(signal = name, "stopping");
        let (name, code) = {
            let steps = async {
                shutdown.in_steps(delay, grace).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                again = signals.next() => again,
                () = steps => return,
            }
        };
        tracing::warn!(signal = name, "ending at once");
        // A thread, since it is for the case that nothing else works: what is left dies with this process.
        std::thread::spawn(move || {
            std::thread::sleep(AT_ONCE);
            std::process::exit(i32::from(code));
        });
        shutdown.at_once(code).await;
    }))
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next signal's name, and the exit code of a process that it ends.
    async fn next(&mut self) -> (&'static str, u8) {
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
    async fn each_step_includes_those_before() {
        let shutdown = Shutdown::default();
        let steps = [&shutdown.draining, &shutdown.closed, &shutdown.killed, &shutdown.over];
        let reached = || steps.iter().filter(|step| step.is_cancelled()).count();
        assert_eq!(reached(), 0);
        let hour = Duration::from_hours(1);
        for (delay, grace, step) in
            [(hour, hour, 1), (Duration::ZERO, hour, 2), (Duration::ZERO, Duration::ZERO, 3)]
        {
            let stop = shutdown.in_steps(delay, grace);
            // As far as it gets without an hour.
            tokio::select! {
                () = stop => panic!("it is over"),
                () = steps[step - 1].cancelled() => {}
            }
            assert_eq!(reached(), step);
        }
        assert_eq!(shutdown.forced(), None);
        // The last step is for answers, also of an end at once.
        let shutdown = Shutdown::default();
        tokio::select! {
            () = shutdown.at_once(143) => panic!("no time for answers"),
            () = shutdown.killed.cancelled() => assert!(!shutdown.over.is_cancelled()),
        }
        shutdown.at_once(143).await;
        assert!(shutdown.over.is_cancelled() && shutdown.is_draining());
        assert_eq!(shutdown.forced(), Some(143));
    }
}
