//! The transitions of jobs from one state to the next.

use rusqlite::params;
use uuid::Uuid;

use super::record::{self, Counted, Json, Outline, Record, is_unreadable, recount};
use super::statements::{all, execute, find};
use super::step::Step;
use crate::domain::{ConversionError, ErrorCode};
use crate::jobs::errors;
use crate::jobs::job::{GiveBack, Job, Progress, State};
use crate::jobs::queue::{Claim, End, Hint, Hold, MAX_ATTEMPTS, Removed, TakeOrder};

impl Step<'_> {
    pub fn take(&mut self, order: TakeOrder, worker: &str) -> rusqlite::Result<Option<Claim>> {
        self.end_pauses()?;
        loop {
            let client = find(
                self.sql,
                "SELECT id FROM clients WHERE waiting > 0 ORDER BY running, served, id LIMIT 1",
                [],
                |row| row.get::<_, i64>(0),
            )?;
            let Some(client) = client else { return Ok(None) };
            let seq = self.first_of(client, order)?;
            // It could not be read, and has failed. The next job is first now.
            let Some(mut record) = self.load(seq)? else { continue };
            let at = self.time_for(&record.job);
            // The file may have been set back to a backup, which does not know the latest tokens.
            record.token = (record.token + 1).max(self.now.0);
            record.leased_until = Some(self.lease_end());
            record.job.state = State::Running;
            record.job.attempts += 1;
            record.job.started_at = Some(at);
            self.change(&mut record, None, None)?;
            execute(self.sql, "INSERT INTO attempts VALUES (?1, ?2)", params![seq, record.token])?;
            execute(self.sql, "UPDATE jobs SET worker = ?2 WHERE seq = ?1", params![seq, worker])?;
            execute(self.sql, "UPDATE meta SET takes = takes + 1", [])?;
            let served = "UPDATE clients SET served = (SELECT takes FROM meta) WHERE id = ?1";
            execute(self.sql, served, [client])?;
            return Ok(Some(Claim { token: record.token, job: record.job }));
        }
    }

    /// Returns the job that is next among those of a client that have a place.
    fn first_of(&self, client: i64, order: TakeOrder) -> rusqlite::Result<i64> {
        if order == TakeOrder::RequestsLast {
            // Those of requests have the ranks below 0.
            let other = "SELECT seq FROM jobs WHERE client = ?1 AND place IS NOT NULL AND rank >= 0
                         ORDER BY rank, place LIMIT 1";
            if let Some(seq) = find(self.sql, other, [client], |row| row.get(0))? {
                return Ok(seq);
            }
        }
        let first =
            "SELECT seq FROM jobs WHERE client = ?1 AND place IS NOT NULL ORDER BY rank, place LIMIT 1";
        self.sql.prepare_cached(first)?.query_row([client], |row| row.get(0))
    }

    pub fn renew(&mut self, id: Uuid, token: u64, progress: Option<Progress>) -> rusqlite::Result<Hold> {
        let is_cancelled = find(
            self.sql,
            "UPDATE jobs SET leased_until = ?3 WHERE id = ?1 AND token = ?2 AND state = 'running'
             RETURNING cancel_requested",
            params![id, token, self.lease_end()],
            |row| row.get::<_, bool>(0),
        )?;
        let Some(is_cancelled) = is_cancelled else { return Ok(Hold::Lost) };
        if progress.is_some()
            && let Some(mut record) = record::by_id(self.sql, id)?
        {
            record.job.progress = progress;
            self.change(&mut record, progress, None)?;
        }
        Ok(if is_cancelled { Hold::Cancelled } else { Hold::Held })
    }

    /// Lets leases that have ended go on; returns their number.
    pub fn extend_leases(&mut self) -> rusqlite::Result<u64> {
        let extended = execute(
            self.sql,
            "UPDATE jobs SET leased_until = ?2 WHERE state = 'running' AND leased_until <= ?1",
            params![self.uptime, self.lease_end()],
        )?;
        Ok(extended as u64)
    }

    pub fn finish(&mut self, id: Uuid, token: u64, end: End) -> rusqlite::Result<bool> {
        let finished = end.state();
        let Some(mut record) = self.held(id, token)? else {
            // Its worker may have done so already, and not got the answer.
            let before = "SELECT 1 FROM jobs WHERE id = ?1 AND token = ?2 AND finished = ?3";
            return self.sql.prepare_cached(before)?.exists(params![id, token, finished]);
        };
        let job = &mut record.job;
        let end = if job.cancel_requested { End::Cancelled } else { end };
        let state = end.state();
        match end {
            End::Succeeded(result) => job.result = Some(result),
            End::Failed(error) => job.error = Some(error),
            End::Cancelled => {}
        }
        self.end(&mut record, state)?;
        execute(self.sql, "UPDATE jobs SET finished = ?2 WHERE seq = ?1", params![record.seq, finished])?;
        Ok(true)
    }

    pub fn give_back(&mut self, id: Uuid, token: u64, reason: GiveBack) -> rusqlite::Result<bool> {
        let Some(mut record) = self.held(id, token)? else { return Ok(false) };
        self.requeue(&mut record, reason)?;
        Ok(true)
    }

    pub fn cancel(&mut self, id: Uuid) -> rusqlite::Result<Option<Job>> {
        let Some(mut record) = record::by_id(self.sql, id)? else { return Ok(None) };
        match record.job.state {
            State::Queued => self.end(&mut record, State::Cancelled)?,
            State::Running if !record.job.cancel_requested => {
                record.job.cancel_requested = true;
                self.change(&mut record, None, None)?;
            }
            _ => {}
        }
        Ok(Some(record.job))
    }

    pub fn remove(&mut self, id: Uuid) -> rusqlite::Result<Option<Removed>> {
        let Some(outline) = Outline::by_id(self.sql, id)? else { return Ok(None) };
        self.remove_record(&outline).map(Some)
    }

    pub fn remove_record(&mut self, outline: &Outline) -> rusqlite::Result<Removed> {
        let tokens = "SELECT token FROM attempts WHERE job = ?1 ORDER BY token";
        let tokens = all(self.sql, tokens, [outline.seq], |row| row.get(0))?;
        outline.remove(self.sql)?;
        self.hint(Hint::Changed(outline.id));
        Ok(Removed { id: outline.id, files: outline.files, tokens })
    }

    /// Ends a job, and records the delivery of its webhook.
    pub fn end(&mut self, record: &mut Record, state: State) -> rusqlite::Result<()> {
        let at = self.time_for(&record.job);
        (record.leased_until, record.paused_until) = (None, None);
        let job = &mut record.job;
        job.state = state;
        job.ended_at = Some(at);
        job.expires_at = at.plus(self.context.limits.ttl);
        job.progress = None;
        job.cancel_requested = false;
        self.change(record, None, None)?;
        if record.job.spec.webhook_url.is_some() {
            self.record_delivery(record.seq)?;
        }
        Ok(())
    }

    /// Queues a running job again, or ends it.
    pub fn requeue(&mut self, record: &mut Record, reason: GiveBack) -> rusqlite::Result<()> {
        if record.job.cancel_requested {
            return self.end(record, State::Cancelled);
        }
        record.workers_lost += u32::from(reason == GiveBack::WorkerLost);
        if let Some(error) = last_error(record, reason) {
            record.job.error = Some(error);
            return self.end(record, State::Failed);
        }
        let at = self.time_for(&record.job);
        record.leased_until = None;
        record.paused_until =
            reason.is_paused().then(|| self.uptime.saturating_add(self.context.spans.retry_pause));
        let job = &mut record.job;
        job.state = State::Queued;
        job.progress = None;
        if reason.counts() || reason == GiveBack::Stopping {
            // It was begun in time, and may wait as long again. If workers lack something for long, it does expire.
            job.expires_at = job.expires_at.max(at.plus(self.context.limits.ttl));
        }
        if !reason.counts() {
            job.attempts = job.attempts.saturating_sub(1);
        }
        if reason == GiveBack::OutOfMemory {
            job.memory_factor = job.memory_factor.saturating_mul(2);
        }
        self.change(record, None, Some(reason))?;
        if !reason.is_paused() {
            self.hint(Hint::Queued);
        }
        Ok(())
    }

    /// Reads a job. `None`: this version of the program cannot read it, and it has ended as failed, so that it does not
    /// stop the queue.
    pub fn load(&mut self, seq: i64) -> rusqlite::Result<Option<Record>> {
        match record::by_seq(self.sql, seq) {
            Err(error) if is_unreadable(&error) => self.discard(seq, &error).map(|()| None),
            record => record.map(Some),
        }
    }

    fn discard(&mut self, seq: i64, error: &rusqlite::Error) -> rusqlite::Result<()> {
        let Outline { id, client, counted, bytes, .. } = Outline::by_seq(self.sql, seq)?;
        tracing::error!(job = %id, %error, "the record of a job cannot be read; the job fails");
        let error =
            ConversionError::new(ErrorCode::Internal, "another version of the service wrote this job");
        let (changed, origin) = (self.number_change()?, self.context.origin);
        execute(
            self.sql,
            "UPDATE jobs SET
                 state = ?2, place = NULL, version = version + 1, leased_until = NULL, paused_until = NULL,
                 cancel_requested = FALSE, ended_at = ?3, expires_at = ?4, progress = NULL, result = NULL,
                 error = ?5, events = '[]', changed = ?6, origin = ?7
             WHERE seq = ?1",
            params![
                seq,
                State::Failed,
                self.now,
                self.now.plus(self.context.limits.ttl),
                Json(&error),
                changed,
                origin,
            ],
        )?;
        self.hint(Hint::Changed(id));
        recount(self.sql, client, bytes, counted, Counted { state: State::Failed, is_waiting: false })
    }

    /// Returns the job if the attempt with this token holds it: until a sweep queues it again, even if the lease has
    /// ended.
    fn held(&self, id: Uuid, token: u64) -> rusqlite::Result<Option<Record>> {
        let record = record::by_id(self.sql, id)?;
        Ok(record.filter(|record| record.job.state == State::Running && record.token == token))
    }

    /// The end of a lease that begins now.
    fn lease_end(&self) -> u64 {
        self.uptime.saturating_add(self.context.spans.job_lease)
    }
}

/// Returns the error of a running job that is not to be tried again.
fn last_error(record: &Record, reason: GiveBack) -> Option<ConversionError> {
    let job = &record.job;
    let has_had_more_memory = reason == GiveBack::OutOfMemory && job.memory_factor > 1;
    let is_last = job.attempts >= MAX_ATTEMPTS || has_had_more_memory;
    errors::of_last(reason, record.workers_lost).filter(|_| is_last)
}
