//! Hints: they save whoever waits for something from asking for it. Nothing depends on them.

use tokio::sync::broadcast::{self, Receiver, Sender};

use super::queue::Hint;

/// Hints that a receiver may lag behind before it has to ask about everything.
const KEPT: usize = 1024;

pub fn channel() -> Sender<Hint> {
    Sender::new(KEPT)
}

/// Waits for a hint that `is_wanted`, or until hints were missed. Waits for ever once nobody hints any more.
pub async fn hinted(hints: &mut Receiver<Hint>, is_wanted: impl Fn(Hint) -> bool) {
    loop {
        match hints.recv().await {
            Ok(hint) if is_wanted(hint) => return,
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
