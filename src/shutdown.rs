//! Stopping: from the signal to the last answer.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long what was given up may take to be answered.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// The three steps of a stop, each of which includes those before.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Not ready any more; requests are still taken.
    pub draining: CancellationToken,
    /// No connection is taken any more.
    pub closed: CancellationToken,
    /// What still runs is given up.
    pub killed: CancellationToken,
}

impl Shutdown {
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }
}

/// Drives a shutdown: the first signal starts it, a second one ends the process at once.
///
/// # Errors
/// As the system says.
pub fn on_signals(shutdown: Shutdown, delay: Duration, grace: Duration) -> io::Result<JoinHandle<()>> {
    let mut signals = Signals::new()?;
    Ok(tokio::spawn(async move {
        let name = signals.next().await;
        tracing::info!(signal = name, "stopping");
        let again = async {
            let name = signals.next().await;
            tracing::warn!(signal = name, "ending at once");
        };
        tokio::select! {
            () = steps(&shutdown, delay, grace) => tracing::error!("some requests could not be answered"),
            () = again => {}
        }
        // What is left is in the engine's hands, and dies with this process.
        std::process::exit(1);
    }))
}

async fn steps(shutdown: &Shutdown, delay: Duration, grace: Duration) {
    shutdown.draining.cancel();
    tokio::time::sleep(delay).await;
    shutdown.closed.cancel();
    tokio::time::sleep(grace).await;
    tracing::warn!("giving up what still runs");
    shutdown.killed.cancel();
    tokio::time::sleep(LAST_ANSWERS).await;
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
