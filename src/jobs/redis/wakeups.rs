//! Hints of all processes: scripts publish them, and each process has one subscription.

use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::sleep;

use super::keys::HINTS;
use crate::jobs::queue::Hint;
use crate::redis::Redis;

/// Pause between two attempts to subscribe: at first, and at most.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Passes hints on, for ever. After a gap, whoever takes jobs or webhooks is told to look.
pub async fn pass_on(redis: Redis, hints: broadcast::Sender<Hint>) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        if let Ok(mut subscription) = redis.subscribe(HINTS).await {
            pause = SHORTEST_PAUSE;
            // Sending fails if nobody listens, which is fine.
            let _ = hints.send(Hint::Queued);
            let _ = hints.send(Hint::Delivery);
            while let Some(message) = subscription.receive().await {
                if let Some(hint) = read(&message) {
                    let _ = hints.send(hint);
                }
            }
        }
        sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

/// Reads a message; `None` if another version sent it.
fn read(message: &[u8]) -> Option<Hint> {
    match message {
        b"q" => Some(Hint::Queued),
        b"d" => Some(Hint::Delivery),
        _ => {
            let id = str::from_utf8(message.strip_prefix(b"c:")?).ok()?;
            id.parse().ok().map(Hint::Changed)
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn messages_are_hints() {
        assert_eq!(read(b"q"), Some(Hint::Queued));
        assert_eq!(read(b"d"), Some(Hint::Delivery));
        assert_eq!(read(b"c:00000000-0000-0000-0000-000000000007"), Some(Hint::Changed(Uuid::from_u128(7))));
        for unknown in [&b""[..], b"x", b"c:", b"c:7", b"c:\xff"] {
            assert_eq!(read(unknown), None);
        }
    }
}
