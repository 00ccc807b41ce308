//! Recording jobs, within the limits.

use rusqlite::params;

use super::record;
use super::statements::{execute, find};
use super::step::Step;
use crate::jobs::job::{Job, State};
use crate::jobs::queue::{Hint, NewJob, Refusal, Submission};

/// The queued and running jobs of a client, or of all clients, and the bytes of their models.
#[derive(Default)]
struct Unfinished {
    jobs: u64,
    bytes: u64,
}

impl Step<'_> {
    pub fn submit(&mut self, new: NewJob) -> rusqlite::Result<Submission> {
        let NewJob { id, spec, idempotency } = new;
        if let Some(idempotency) = &idempotency
            && let Some(answer) = self.answer_by_key(idempotency)?
        {
            return Ok(answer);
        }
        let name = spec.client.to_string();
        let known = find(
            self.sql,
            "SELECT id, queued + running, bytes FROM clients WHERE name = ?1",
            [&name],
            |row| Ok((row.get::<_, i64>(0)?, Unfinished { jobs: row.get(1)?, bytes: row.get(2)? })),
        )?;
        let (client, of_client) = known.map_or((None, Unfinished::default()), |(id, has)| (Some(id), has));
        if let Some(refusal) = self.refusal(&of_client, spec.bytes())? {
            return Ok(Submission::Refused(refusal));
        }
        let client = if let Some(client) = client {
            client
        } else {
            execute(self.sql, "INSERT INTO clients (name) VALUES (?1)", [&name])?;
            self.sql.last_insert_rowid()
        };
        let job = Job::queued(id, spec, self.now, self.now.plus(self.context.limits.ttl));
        record::insert(self.sql, client, &job, self.number_change()?, self.context.origin)?;
        if let Some(idempotency) = &idempotency {
            self.use_key(idempotency, id)?;
        }
        self.hint(Hint::Queued);
        Ok(Submission::New(job))
    }

    /// Returns the limit that another job with a model of `bytes` would exceed.
    fn refusal(&self, of_client: &Unfinished, bytes: u64) -> rusqlite::Result<Option<Refusal>> {
        let limits = self.context.limits;
        let all = find(
            self.sql,
            "SELECT sum(jobs), sum(bytes) FROM counts WHERE state IN (?1, ?2)",
            params![State::Queued, State::Running],
            |row| Ok(Unfinished { jobs: row.get(0)?, bytes: row.get(1)? }),
        )?;
        let all = all.unwrap_or_default();
        let checks = [
            (Refusal::ClientJobs, of_client.jobs >= limits.client_jobs),
            (Refusal::Jobs, all.jobs >= limits.jobs),
            (Refusal::ClientBytes, of_client.bytes.saturating_add(bytes) > limits.client_bytes),
            (Refusal::Bytes, all.bytes.saturating_add(bytes) > limits.bytes),
        ];
        Ok(checks.into_iter().find(|(_, is_exceeded)| *is_exceeded).map(|(refusal, _)| refusal))
    }
}
