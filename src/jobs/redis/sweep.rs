//! Sweeping, a limited number of jobs at a time.

use ::redis::cmd;

use super::keys::PREFIX;
use super::queue::{RedisQueue, millis};
use super::record::{to_json, tokens, uuids};
use super::scripts;
use crate::jobs::errors;
use crate::jobs::queue::{KEPT_FOR_WEBHOOK, LATE_SWEEP, QueueError, Removed, Swept, WEBHOOK_LIFE};

/// Leases, and jobs that are too old, that one script of a sweep handles: few enough not to keep others waiting.
const SWEPT_AT_ONCE: usize = 100;

/// Scripts of one sweep at most.
const SWEEPS: usize = 50;

type Ids = Vec<String>;

impl RedisQueue {
    pub(super) async fn sweep_all(&self) -> Result<Swept, QueueError> {
        let mut swept = Swept::default();
        for _ in 0..SWEEPS {
            match self.sweep_some(&mut swept).await {
                Err(error) if swept == Swept::default() => return Err(error),
                Ok(true) => {}
                // After an error, what was done is returned; the next sweep finds the rest.
                Ok(false) | Err(_) => break,
            }
        }
        Ok(swept)
    }

    /// Sweeps once, and adds to what was done. Returns whether there may be more to do.
    async fn sweep_some(&self, swept: &mut Swept) -> Result<bool, QueueError> {
        let (seconds, microseconds): (u64, u64) = self.run(cmd("TIME")).await?;
        let asked = seconds * 1000 + microseconds / 1000;
        // The script puts their number for `%d`.
        let workers_lost = to_json(&errors::workers_lost("%d"))?;
        let mut script = scripts::SWEEP.key(PREFIX);
        script.arg(SWEPT_AT_ONCE).arg(self.ttl()).arg(millis(KEPT_FOR_WEBHOOK));
        script.arg(millis(WEBHOOK_LIFE)).arg(workers_lost).arg(asked).arg(millis(LATE_SWEEP));
        let (more, requeued, dead, cancelled, expired, removed): (bool, Ids, Ids, Ids, Ids, Ids) =
            self.run_script(script).await?;
        swept.requeued.extend(uuids(&requeued));
        swept.dead.extend(uuids(&dead));
        swept.cancelled.extend(uuids(&cancelled));
        swept.expired.extend(uuids(&expired));
        let (removed, _) = removed.as_chunks::<3>();
        swept.removed.extend(removed.iter().filter_map(|[id, files, found]| {
            Some(Removed { id: id.parse().ok()?, files: files.parse().ok()?, tokens: tokens(found) })
        }));
        Ok(more)
    }
}
