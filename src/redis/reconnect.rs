//! Who looks after the connection, so that no request has to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::{Link, Shared, probe};

/// How often a connection that nobody may be using is tried.
const TRY_EVERY: Duration = Duration::from_secs(5);

/// Between two attempts to connect: at first, and at most.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A connection that lasted so long was a good one: the next attempts begin with the shortest pause again.
const GOOD: Duration = Duration::from_secs(10);

/// Connects whenever there is no connection, and tries the one that there is.
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
        shared.try_to_connect().await;
    }
}

/// Ends when the link is lost.
async fn watch(shared: &Shared, link: Link) {
    let Link { mut connection, number } = link;
    let in_use = || shared.link().is_ok_and(|link| link.number == number);
    while in_use() {
        // Whoever uses it may find out before.
        let _ = timeout(TRY_EVERY, shared.doubt.notified()).await;
        if in_use() {
            let _ = shared.settle(number, probe(&mut connection)).await;
        }
    }
}
