//! One operation within a transaction.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::broadcast;

use super::clock::Clock;
use super::record::Record;
use super::statements::{execute, number};
use crate::jobs::job::{GiveBack, Job, Progress, Timestamp};
use crate::jobs::queue::{DELIVERY_LEASE, Hint, LEASE, Limits, QueueError, RETRY_PAUSE};

/// The state that the threads of a queue share.
#[derive(Debug)]
pub struct Context {
    pub path: PathBuf,
    pub limits: Limits,
    pub spans: Spans,
    pub clock: Clock,
    /// Tells changes by this process from those by others: a random number.
    pub origin: i64,
    pub hints: broadcast::Sender<Hint>,
}

/// How long leases and pauses last, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Spans {
    pub job_lease: u64,
    pub delivery_lease: u64,
    pub retry_pause: u64,
}

impl Context {
    /// Runs the work of a caller. A panic becomes an error like any other, so that it does not end the thread on which
    /// all callers depend. The panic hook has logged it.
    pub fn run<T>(&self, work: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, QueueError> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => result.map_err(|error| self.error(&error)),
            Err(_) => Err(QueueError::Failed(format!("{}: internal error (panic)", self.path.display()))),
        }
    }

    pub fn error(&self, error: &rusqlite::Error) -> QueueError {
        QueueError::Failed(format!("{}: {error}", self.path.display()))
    }
}

impl Spans {
    /// Those that every queue has.
    pub const DEFAULT: Spans = Spans {
        job_lease: LEASE.as_millis() as u64,
        delivery_lease: DELIVERY_LEASE.as_millis() as u64,
        retry_pause: RETRY_PAUSE.as_millis() as u64,
    };

    /// All of them equal to this one.
    pub fn all(span: Duration) -> Self {
        let span = span.as_millis() as u64;
        Self { job_lease: span, delivery_lease: span, retry_pause: span }
    }
}

/// An operation on jobs. Its changes count once its transaction is committed.
pub struct Step<'a> {
    pub sql: &'a Connection,
    pub context: &'a Context,
    pub now: Timestamp,
    /// The time by the clock of leases.
    pub uptime: u64,
    /// Sent once the changes count.
    pub hints: Vec<Hint>,
}

impl<'a> Step<'a> {
    pub fn new(sql: &'a Connection, context: &'a Context) -> Self {
        Self { sql, context, now: Timestamp::now(), uptime: (context.clock.now)(), hints: Vec::new() }
    }

    pub fn hint(&mut self, hint: Hint) {
        self.hints.push(hint);
    }

    /// The time of a change of this job: never before its latest event, even if somebody has set the clock back.
    pub fn time_for(&self, job: &Job) -> Timestamp {
        job.events.last().map_or(self.now, |latest| latest.at.max(self.now))
    }

    /// Writes a job that has changed, under its next version and with an event.
    pub fn change(
        &mut self,
        record: &mut Record,
        progress: Option<Progress>,
        reason: Option<GiveBack>,
    ) -> rusqlite::Result<()> {
        let at = self.time_for(&record.job);
        record.job.version += 1;
        record.job.record_event(at, progress, reason);
        self.write(record)
    }

    /// Writes a job that has changed after its end, under its next version. Its events are complete.
    pub fn change_ended(&mut self, record: &mut Record) -> rusqlite::Result<()> {
        record.job.version += 1;
        self.write(record)
    }

    fn write(&mut self, record: &mut Record) -> rusqlite::Result<()> {
        let changed = self.number_change()?;
        record.write(self.sql, changed, self.context.origin)?;
        self.hint(Hint::Changed(record.job.id));
        Ok(())
    }

    /// Returns the number of a new change, by which other processes find the job.
    pub fn number_change(&self) -> rusqlite::Result<i64> {
        execute(self.sql, "UPDATE meta SET changes = changes + 1", [])?;
        number(self.sql, "SELECT changes FROM meta")
    }
}
