//! Maintenance: repairs what killed processes leave, and counts jobs.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::queue::{LEASE, Removed};
use super::service::Jobs;

/// How often the queue is swept, and jobs are counted.
const EVERY: Duration = Duration::from_secs(2);

/// Time limit of a count.
const COUNTED_WITHIN: Duration = Duration::from_mins(1);

/// How often objects are compared with records, and how long that may take.
const COMPARE_EVERY: Duration = Duration::from_hours(1);
const COMPARED_WITHIN: Duration = Duration::from_mins(10);

/// Repairs and counts for ever. Each kind of work has a loop of its own, so that a slow store delays no sweep.
pub async fn maintain(jobs: Jobs) {
    let (removed, to_remove) = mpsc::unbounded_channel();
    tokio::join!(
        sweep(&jobs, &removed),
        remove_objects(&jobs, to_remove),
        remove_unrecorded(&jobs),
        remove_abandoned_objects(&jobs),
        count(&jobs),
    );
}

/// Sweeps the queue, and passes on the records that were removed.
async fn sweep(jobs: &Jobs, removed: &mpsc::UnboundedSender<Removed>) {
    let mut outage = Outage::default();
    loop {
        let now = uptime();
        let work = async {
            if outage.is_long(now) {
                let extended = jobs.queue().extend_leases().await?;
                tracing::warn!(
                    extended,
                    "workers could not renew their leases for a while; the leases go on"
                );
            }
            jobs.sweep().await
        };
        // A queue that hangs for longer may have kept workers from renewing their leases, and must not sweep then.
        // Objects of records that it has removed all the same are found later, by their age.
        match timeout(LEASE / 2, work).await {
            Ok(Ok(records)) => {
                outage.swept(uptime());
                for record in records {
                    // Fails only when both loops end.
                    let _ = removed.send(record);
                }
            }
            Ok(Err(error)) => {
                outage.failed(now);
                tracing::debug!(%error, "the queue of jobs could not be swept");
            }
            Err(_) => {
                outage.failed(now);
                tracing::debug!("the queue of jobs was not swept in time");
            }
        }
        sleep(EVERY).await;
    }
}

/// Removes the objects of records that were removed.
async fn remove_objects(jobs: &Jobs, mut to_remove: mpsc::UnboundedReceiver<Removed>) {
    while let Some(removed) = to_remove.recv().await {
        jobs.remove_objects(removed).await;
    }
}

/// Removes the models of jobs that turn out not to be recorded.
async fn remove_unrecorded(jobs: &Jobs) {
    loop {
        if let Err(error) = jobs.remove_unrecorded().await {
            tracing::debug!(%error, "nobody knows yet whether a job was recorded");
        }
        sleep(EVERY).await;
    }
}

/// Removes objects that have no record.
async fn remove_abandoned_objects(jobs: &Jobs) {
    // The start has more urgent work.
    sleep(EVERY).await;
    loop {
        match timeout(COMPARED_WITHIN, jobs.remove_abandoned_objects(SystemTime::now())).await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::info!(removed, "removed objects of jobs that have no record"),
            Ok(Err(error)) => tracing::warn!(error, "abandoned objects of jobs could not be removed"),
            Err(_) => tracing::warn!("abandoned objects of jobs were not found in time"),
        }
        sleep(COMPARE_EVERY).await;
    }
}

async fn count(jobs: &Jobs) {
    loop {
        if let Err(error) = timeout(COUNTED_WITHIN, jobs.count()).await.unwrap_or(Ok(())) {
            tracing::debug!(%error, "jobs could not be counted");
        }
        sleep(EVERY).await;
    }
}

/// Tells a long time without sweeps, in which workers could not renew their leases either: the queue was away, or this
/// machine slept. Times are those of [`uptime`].
#[derive(Debug, Default)]
struct Outage {
    /// When the latest sweep succeeded; before the first one, when a sweep failed for the first time.
    since: Option<Duration>,
}

impl Outage {
    /// Whether leases may have ended only because of it.
    fn is_long(&self, now: Duration) -> bool {
        self.since.is_some_and(|since| now.saturating_sub(since) > LEASE / 2)
    }

    fn swept(&mut self, now: Duration) {
        self.since = Some(now);
    }

    fn failed(&mut self, now: Duration) {
        self.since.get_or_insert(now);
    }
}

/// The time since this machine started, also while it slept.
fn uptime() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    // Neither is ever negative.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_time_without_sweeps_is_an_outage() {
        let at = Duration::from_secs;
        let mut outage = Outage::default();
        // The start of a process: leases of an earlier one are not extended.
        assert!(!outage.is_long(at(1_000_000)));
        outage.swept(at(100));
        assert!(!outage.is_long(at(105)) && outage.is_long(at(106)));
        outage.failed(at(103));
        assert!(outage.is_long(at(106)));
        outage.swept(at(106));
        assert!(!outage.is_long(at(108)));
    }

    #[test]
    fn an_outage_at_the_start_begins_with_the_first_failure() {
        let at = Duration::from_secs;
        let mut outage = Outage::default();
        outage.failed(at(100));
        outage.failed(at(104));
        assert!(!outage.is_long(at(104)) && outage.is_long(at(106)));
    }

    #[test]
    fn the_clock_goes_on() {
        let before = uptime();
        std::thread::sleep(Duration::from_millis(5));
        assert!(uptime().saturating_sub(before) >= Duration::from_millis(5));
    }
}
