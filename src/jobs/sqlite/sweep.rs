//! Sweeping: leases, pauses, jobs, records and keys whose time is over.

use std::time::Duration;

use rusqlite::params;

use super::deliveries;
use super::record::{Counted, Outline, read_outline, recount};
use super::statements::{all, execute};
use super::step::Step;
use crate::jobs::job::{GiveBack, State};
use crate::jobs::queue::{Hint, KEPT_FOR_WEBHOOK, LATE_SWEEP, Swept, WEBHOOK_LIFE};

/// Rows of each kind in one transaction, so that nobody waits for long.
const AT_ONCE: usize = 250;

impl Step<'_> {
    /// Sweeps a limited number of rows; returns what was done, and whether there may be more. `asked`: when the caller
    /// asked for it, by the clock of leases.
    pub fn sweep(&mut self, asked: u64) -> rusqlite::Result<(Swept, bool)> {
        let mut swept = Swept::default();
        let is_late = Duration::from_millis(self.uptime.saturating_sub(asked)) >= LATE_SWEEP;
        let lost = if is_late { 0 } else { self.requeue_lost(&mut swept)? };
        let paused = self.end_pauses()?;
        let old = self.remove_old(&mut swept)?;
        self.forget()?;
        Ok((swept, [lost, paused, old].contains(&AT_ONCE)))
    }

    /// Puts jobs whose pause is over behind the others of their client and priority; returns their number.
    pub fn end_pauses(&mut self) -> rusqlite::Result<usize> {
        let paused = all(
            self.sql,
            "SELECT seq, id, client, state, place IS NOT NULL, bytes, files FROM jobs
             WHERE paused_until <= ?1 ORDER BY paused_until, seq LIMIT ?2",
            params![self.uptime, AT_ONCE],
            read_outline,
        )?;
        for Outline { seq, client, counted, bytes, .. } in &paused {
            // Its version stays, but it changes, so that other processes learn that there is something to take.
            let place = self.number_change()?;
            execute(
                self.sql,
                "UPDATE jobs SET paused_until = NULL, place = ?2, changed = ?2, origin = ?3 WHERE seq = ?1",
                params![seq, place, self.context.origin],
            )?;
            recount(self.sql, *client, *bytes, *counted, Counted { is_waiting: true, ..*counted })?;
        }
        if !paused.is_empty() {
            self.hint(Hint::Queued);
        }
        Ok(paused.len())
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
            self.requeue(&mut record, GiveBack::WorkerLost)?;
            let done = match record.job.state {
                State::Queued => &mut swept.requeued,
                State::Cancelled => &mut swept.cancelled,
                _ => &mut swept.dead,
            };
            done.push(record.job.id);
        }
        Ok(lost.len())
    }

    /// Expires queued jobs, and removes those that have ended, unless a webhook is not delivered; returns their number.
    fn remove_old(&mut self, swept: &mut Swept) -> rusqlite::Result<usize> {
        let old = all(
            self.sql,
            "SELECT seq, id, client, state, place IS NOT NULL, bytes, files FROM jobs
             WHERE state <> 'running' AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2",
            params![self.now, AT_ONCE],
            read_outline,
        )?;
        for outline in &old {
            if outline.counted.state != State::Queued {
                if deliveries::is_pending(self.sql, outline.seq, self.now.minus(WEBHOOK_LIFE))? {
                    self.keep_for_webhook(outline)?;
                } else {
                    swept.removed.push(self.remove_record(outline)?);
                }
                continue;
            }
            let Some(mut record) = self.load(outline.seq)? else { continue };
            self.end(&mut record, State::Expired)?;
            swept.expired.push(outline.id);
        }
        Ok(old.len())
    }

    /// Keeps the record of a job for a while longer: its webhook is not delivered.
    fn keep_for_webhook(&mut self, outline: &Outline) -> rusqlite::Result<()> {
        let changed = self.number_change()?;
        execute(
            self.sql,
            "UPDATE jobs SET expires_at = ?2, version = version + 1, changed = ?3, origin = ?4 WHERE seq = ?1",
            params![outline.seq, self.now.plus(KEPT_FOR_WEBHOOK), changed, self.context.origin],
        )?;
        self.hint(Hint::Changed(outline.id));
        Ok(())
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
