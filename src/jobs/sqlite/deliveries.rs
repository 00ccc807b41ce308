//! The webhooks of jobs that have ended.

use std::time::Duration;

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::record::{self, is_unreadable};
use super::statements::{execute, find};
use super::step::Step;
use crate::jobs::job::{DeliveryAttempt, MAX_DELIVERY_ATTEMPTS, Timestamp};
use crate::jobs::queue::{Delivery, Hint, NextAttempt};

impl Step<'_> {
    /// Records that the webhook of a job that has just ended is to be delivered.
    pub fn record_delivery(&mut self, seq: i64) -> rusqlite::Result<()> {
        let statement = "INSERT INTO deliveries (job, id, due_from) VALUES (?1, ?2, ?3)";
        execute(self.sql, statement, params![seq, Uuid::now_v7(), self.uptime])?;
        self.hint(Hint::Delivery);
        Ok(())
    }

    pub fn take_delivery(&mut self) -> rusqlite::Result<Option<Delivery>> {
        loop {
            let due = find(
                self.sql,
                "UPDATE deliveries SET token = token + 1, due_from = ?2
                 WHERE job = (SELECT job FROM deliveries WHERE due_from <= ?1 ORDER BY due_from LIMIT 1)
                 RETURNING job, id, attempts, token",
                params![self.uptime, self.uptime.saturating_add(self.context.spans.delivery_lease)],
                |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )?;
            let Some((seq, id, attempts, token)) = due else { return Ok(None) };
            let job = match record::by_seq(self.sql, seq) {
                Ok(record) => record.job,
                // A process of the version that wrote it may take it after this lease.
                Err(error) if is_unreadable(&error) => continue,
                Err(error) => return Err(error),
            };
            if let (Some(url), Some(occurred_at)) = (job.spec.webhook_url.clone(), job.ended_at) {
                return Ok(Some(Delivery { id, job, url, occurred_at, attempts, token }));
            }
        }
    }

    /// `id`: of the job.
    pub fn record_delivery_attempt(
        &mut self,
        id: Uuid,
        token: u64,
        attempt: DeliveryAttempt,
        next: NextAttempt,
    ) -> rusqlite::Result<bool> {
        if !self.end_delivery_lease(id, token, 1, next)? {
            return Ok(false);
        }
        if let Some(mut record) = record::by_id(self.sql, id)? {
            let shown = &mut record.job.deliveries;
            shown.push(attempt);
            let excess = shown.len().saturating_sub(MAX_DELIVERY_ATTEMPTS);
            shown.drain(..excess);
            self.change_ended(&mut record)?;
        }
        Ok(true)
    }

    /// `id`: of the job.
    pub fn postpone_delivery(&mut self, id: Uuid, token: u64, pause: Duration) -> rusqlite::Result<bool> {
        self.end_delivery_lease(id, token, 0, NextAttempt::After(pause))
    }

    /// Ends the lease of a webhook, after `attempts` to deliver it; returns whether it was held.
    fn end_delivery_lease(
        &self,
        id: Uuid,
        token: u64,
        attempts: u32,
        next: NextAttempt,
    ) -> rusqlite::Result<bool> {
        let due_from = match next {
            NextAttempt::Never => None,
            NextAttempt::After(pause) => Some(self.uptime.saturating_add(pause.as_millis() as u64)),
        };
        let ended = execute(
            self.sql,
            "UPDATE deliveries SET token = token + 1, attempts = attempts + ?4, due_from = ?5
             WHERE job = (SELECT seq FROM jobs WHERE id = ?1) AND token = ?2 AND due_from > ?3",
            params![id, token, self.uptime, attempts, due_from],
        )?;
        Ok(ended > 0)
    }

    pub fn redeliver(&mut self, id: Uuid) -> rusqlite::Result<bool> {
        let redelivered = execute(
            self.sql,
            "UPDATE deliveries SET token = token + 1, due_from = ?2
             WHERE job = (SELECT seq FROM jobs WHERE id = ?1)",
            params![id, self.uptime],
        )?;
        if redelivered == 0 {
            return Ok(false);
        }
        self.hint(Hint::Delivery);
        Ok(true)
    }
}

/// Whether a job that has ended later than `after` has a webhook that is not delivered, and not given up.
pub fn is_pending(sql: &Connection, seq: i64, after: Timestamp) -> rusqlite::Result<bool> {
    let pending = "SELECT 1 FROM deliveries JOIN jobs ON jobs.seq = deliveries.job
                   WHERE deliveries.job = ?1 AND due_from IS NOT NULL AND ended_at > ?2";
    sql.prepare_cached(pending)?.exists(params![seq, after])
}

/// Whether a webhook may be taken. `uptime`: the time by the clock of leases.
pub fn is_any_due(sql: &Connection, uptime: u64) -> rusqlite::Result<bool> {
    sql.prepare_cached("SELECT 1 FROM deliveries WHERE due_from <= ?1 LIMIT 1")?.exists([uptime])
}
