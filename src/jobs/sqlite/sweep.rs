//! Sweeping: leases, jobs, records and keys whose time is over.

use rusqlite::params;

use super::record::read_outline;
use super::statements::{all, execute};
use super::step::Step;
use crate::jobs::job::GiveBack;
use crate::jobs::job::State;
use crate::jobs::queue::Swept;

/// Rows of each kind in one transaction, so that nobody waits for long.
const AT_ONCE: usize = 250;

impl Step<'_> {
    /// Sweeps a limited number of rows; returns what was done, and whether there may be more.
    pub fn sweep(&mut self) -> rusqlite::Result<(Swept, bool)> {
        let mut swept = Swept::default();
        let lost = self.requeue_lost(&mut swept)?;
        let old = self.remove_old(&mut swept)?;
        self.forget()?;
        Ok((swept, lost == AT_ONCE || old == AT_ONCE))
    }

    /// Queues jobs whose lease has ended; returns their number.
    fn requeue_lost(&mut self, swept: &mut Swept) -> rusqlite::Result<usize> {
        let lost: Vec<i64> = all(
            self.sql,
            "SELECT seq FROM jobs WHERE state = 'running' AND leased_until <= ?1 ORDER BY leased_until LIMIT ?2",
            params![self.uptime, AT_ONCE],
            |row| row.get(0),
        )?;
        for seq in &lost {
            let Some(mut record) = self.load(*seq)? else { continue };
            let is_queued = self.requeue(&mut record, GiveBack::WorkerLost)?;
            let done = if is_queued { &mut swept.requeued } else { &mut swept.ended };
            done.push(record.job.id);
        }
        Ok(lost.len())
    }

    /// Expires queued jobs, and removes those that have ended; returns their number.
    fn remove_old(&mut self, swept: &mut Swept) -> rusqlite::Result<usize> {
        let old = all(
            self.sql,
            "SELECT seq, id, client, state, bytes, files, token FROM jobs
             WHERE state <> 'running' AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2",
            params![self.now, AT_ONCE],
            read_outline,
        )?;
        for outline in &old {
            if outline.state != State::Queued {
                swept.removed.push(self.remove_record(outline)?);
                continue;
            }
            let Some(mut record) = self.load(outline.seq)? else { continue };
            self.end(&mut record, State::Expired)?;
            swept.expired.push(outline.id);
        }
        Ok(old.len())
    }

    /// Removes keys that are free again, and clients without jobs that would be next even as new clients.
    fn forget(&mut self) -> rusqlite::Result<()> {
        execute(
            self.sql,
            "DELETE FROM keys WHERE number IN (
                 SELECT number FROM keys WHERE job IS NULL AND reserved_until <= ?1 LIMIT ?2)",
            params![self.uptime, AT_ONCE],
        )?;
        execute(
            self.sql,
            "DELETE FROM keys WHERE number IN (
                 SELECT number FROM keys WHERE job IS NOT NULL AND expires_at <= ?1 LIMIT ?2)",
            params![self.now, AT_ONCE],
        )?;
        execute(
            self.sql,
            "DELETE FROM clients WHERE id IN (
                 SELECT id FROM clients WHERE jobs = 0 AND served < coalesce(
                     (SELECT min(served) FROM clients WHERE queued > 0), 9223372036854775807) LIMIT ?1)",
            [AT_ONCE],
        )?;
        Ok(())
    }
}
