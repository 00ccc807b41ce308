//! The background task that connects, probes and reconnects, so that requests need not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::link::{Link, Shared, probe};

/// Interval between probes of a connection, which may be idle.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// Pause between two attempts to connect: at first, and at most.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A connection that has lasted this long resets the pause to the shortest.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Connects whenever there is no connection, and probes the current one.
pub async fn stay_connected(shared: Arc<Shared>) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        if let Ok(link) = shared.link() {
            let began = Instant::now();
            probe_until_lost(&shared, link).await;
            if began.elapsed() >= STABLE_AFTER {
                pause = SHORTEST_PAUSE;
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let _ = shared.try_to_connect().await;
    }
}

/// Probes the link from time to time, until it is lost.
async fn probe_until_lost(shared: &Shared, link: Link) {
    let Link { mut connection, number } = link;
    let in_use = || shared.link().is_ok_and(|link| link.number == number);
    while in_use() {
        // An error in a request asks for a probe at once.
        let _ = timeout(PROBE_EVERY, shared.probe_now.notified()).await;
        if in_use() {
            let _ = shared.track(number, probe(&mut connection, &shared.policy)).await;
        }
    }
}
