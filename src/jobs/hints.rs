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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use uuid::Uuid;

    use super::*;

    /// Whether waiting for this hint ends at once.
    fn is_hinted(hints: &mut Receiver<Hint>, wanted: Hint) -> bool {
        hinted(hints, |hint| hint == wanted).now_or_never().is_some()
    }

    #[test]
    fn other_hints_are_skipped() {
        let (mine, other) = (Hint::Changed(Uuid::from_u128(1)), Hint::Changed(Uuid::from_u128(2)));
        let sender = channel();
        let mut hints = sender.subscribe();
        assert!(!is_hinted(&mut hints, mine));
        for hint in [other, Hint::Queued, mine, Hint::Delivery] {
            sender.send(hint).unwrap();
        }
        assert!(is_hinted(&mut hints, mine));
        assert!(!is_hinted(&mut hints, mine));
    }

    #[test]
    fn missed_hints_end_the_wait() {
        let sender = channel();
        let mut hints = sender.subscribe();
        for _ in 0..=KEPT {
            sender.send(Hint::Queued).unwrap();
        }
        assert!(is_hinted(&mut hints, Hint::Delivery));
        // The others were not missed, and are not wanted.
        assert!(!is_hinted(&mut hints, Hint::Delivery));
    }

    #[test]
    fn the_wait_goes_on_when_nobody_hints_any_more() {
        let sender = channel();
        let mut hints = sender.subscribe();
        drop(sender);
        assert!(!is_hinted(&mut hints, Hint::Queued));
    }
}
