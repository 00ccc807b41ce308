//! Stopping: from the signal to the last answer.

use tokio_util::sync::CancellationToken;

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
