//! The keeper: the background task that connects, probes and reconnects, so that requests need not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::link::{Link, Shared, probe};

/// Interval between probes of a connection, which may be idle.
const TRY_EVERY: Duration = Duration::from_secs(5);

/// Pause between two attempts to connect: at first, and at most.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A connection that has lasted this long resets the pause to the shortest.
const GOOD: Duration = Duration::from_secs(10);

/// Connects whenever there is no connection, and probes the current one.
pub async fn keep(shared: Arc<Shared>) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        if let Ok(link) = shared.link() {
            let began = Instant::now();
            watch(&shared, link).await;
            if began.elapsed() >= GOOD {
                pause = SHORTEST_PAUSE;
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let _ = shared.try_to_connect().await;
    }
}

/// Probes the link until it is lost.
async fn watch(shared: &Shared, link: Link) {
    let Link { mut connection, number } = link;
    let in_use = || shared.link().is_ok_and(|link| link.number == number);
    while in_use() {
        // An error in a request wakes the keeper early.
        let _ = timeout(TRY_EVERY, shared.doubt.notified()).await;
        if in_use() {
            let _ = shared.settle(number, probe(&mut connection, &shared.terms)).await;
        }
    }
}
