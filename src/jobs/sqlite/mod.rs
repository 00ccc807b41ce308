//! The queue in SQLite: the file `jobs.sqlite` in `DATA_DIR`, which all processes of this machine may share.
//!
//! ```text
//!           operations                                  one transaction, one wait for the disk
//!  callers ───────────▶ writer.rs: up to 64 that wait ─────────────────────────────────────────▶ jobs.sqlite
//!     ▲ ▲                    │ then                                                              │      ▲
//!     │ └────── answers ─────┴──────────▶ hints ◀─────────────┐                                  │      │
//!     │                                                       │ something has changed            │  another process
//!     │     queries                                           │                                  │
//!     └─────────────────────▶ reader.rs: one by one, and ─────┴── four times a second ◀──────────┘
//! ```
//!
//! - **Durable:** SQLite waits until its write-ahead log is on the disk before a caller gets its answer. A process may
//!   be killed at any time; the next one to open the file finds each transaction whole or absent.
//! - **One writer** in each process. SQLite lets one process write at a time; the others wait, for 5 s at most.
//! - **A full disk** fails operations, which change nothing then. The next ones are tried as if nothing had happened.
//!   An operation that panics fails likewise.
//! - **Leases and pauses** are measured by a clock that nobody can set, and end when the machine is started anew
//!   (`clock.rs`). The wall clock decides only when jobs expire and when keys are forgotten.
//! - **A worker loses its job** when a sweep queues it again, not when its lease ends: until then, nobody else may take
//!   it.
//! - **The next job** is found by two indexes, however many jobs wait: the client with the fewest running jobs, and its
//!   first job (`migrations/1.sql`). A paused job has no place among them; takes and sweeps give it one when its pause
//!   is over. The numbers that limits need are kept, not counted.

mod clock;
mod connection;
mod deliveries;
mod examine;
mod keys;
mod queries;
mod reader;
mod record;
mod schema;
mod statements;
mod step;
mod submit;
mod sweep;
mod transitions;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{broadcast, mpsc, oneshot};
use uuid::Uuid;

use clock::Clock;
pub use examine::examine_file;
use reader::Query;
use step::{Context, Spans, Step};
use writer::{Call, Command};

use super::hints;
use super::job::{Job, Progress, State};
use crate::domain::Client;
use crate::jobs::job::{DeliveryAttempt, GiveBack};
use crate::jobs::queue::{
    Claim, Delivery, End, Hint, Hold, Key, Limits, NewJob, NextAttempt, Page, Pending, Queue, QueueError,
    Removed, Reservation, Stats, Submission, Swept, TakeOrder,
};

/// Most transactions of one sweep, so that it ends even if there is always more to do.
const MAX_ROUNDS: usize = 16;

/// Keeps jobs in a file.
pub struct SqliteQueue {
    name: String,
    context: Arc<Context>,
    writer: mpsc::Sender<Box<dyn Command>>,
    reader: mpsc::Sender<Query>,
}

impl SqliteQueue {
    /// Opens the file, or makes it in a folder that exists. Blocks for as long as other processes do the same. When the
    /// queue is dropped, its threads do what they were asked to do, and end.
    ///
    /// # Errors
    /// A sentence, when the file cannot be used; it is left as it was.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, String> {
        Self::open_with(path, limits, Spans::DEFAULT, Clock::of_machine()?)
    }

    /// Opens the file like [`SqliteQueue::open`], for tests: jobs and webhooks that it takes are leased for this long,
    /// and jobs are paused for as long.
    ///
    /// # Errors
    /// As [`SqliteQueue::open`].
    pub fn open_with_lease(path: &Path, limits: Limits, lease: Duration) -> Result<Self, String> {
        Self::open_with(path, limits, Spans::all(lease), Clock::of_machine()?)
    }

    fn open_with(path: &Path, limits: Limits, spans: Spans, clock: Clock) -> Result<Self, String> {
        let sentence = |error: rusqlite::Error| connection::sentence(path, &error);
        let mut to_write = connection::open(path)?;
        schema::migrate(&mut to_write).map_err(sentence)?;
        schema::end_leases_of_other_boots(&mut to_write, &clock.boot).map_err(sentence)?;
        let to_read = connection::open(path)?;
        to_read.pragma_update(None, "query_only", true).map_err(sentence)?;

        let hints = hints::channel();
        let context = Arc::new(Context {
            path: path.to_owned(),
            limits,
            spans,
            clock,
            // The second half of a UUID is random.
            origin: Uuid::now_v7().as_u64_pair().1 as i64,
            hints,
        });
        let no_thread =
            |error: io::Error| format!("could not start a thread for {}: {error}", path.display());
        Ok(Self {
            name: path.display().to_string(),
            writer: writer::start(to_write, Arc::clone(&context)).map_err(no_thread)?,
            reader: reader::start(to_read, Arc::clone(&context)).map_err(no_thread)?,
            context,
        })
    }

    /// Runs an operation on the thread that writes; returns when it is durable.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Step<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        let (answer, answered) = oneshot::channel();
        let call: Box<dyn Command> = Box::new(Call::new(work, answer));
        self.writer.send(call).await.map_err(|_| self.closed())?;
        answered.await.map_err(|_| self.closed())?
    }

    /// Runs a query on the thread that reads.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        let (answer, answered) = oneshot::channel();
        let context = Arc::clone(&self.context);
        let query: Query = Box::new(move |sql: &Connection| {
            // The caller may have given up.
            if !answer.is_closed() {
                let _ = answer.send(context.run(|| work(sql)));
            }
        });
        self.reader.send(query).await.map_err(|_| self.closed())?;
        answered.await.map_err(|_| self.closed())?
    }

    fn closed(&self) -> QueueError {
        QueueError::Failed(format!("{}: a thread has ended", self.name))
    }

    async fn sweep_all(&self) -> Result<Swept, QueueError> {
        let mut swept = Swept::default();
        for round in 0..MAX_ROUNDS {
            let asked = (self.context.clock.now)();
            let (more, is_more) = match self.write(move |step| step.sweep(asked)).await {
                Ok(done) => done,
                Err(error) if round == 0 => return Err(error),
                // The caller needs the results of the earlier rounds.
                Err(_) => break,
            };
            swept.requeued.extend(more.requeued);
            swept.dead.extend(more.dead);
            swept.cancelled.extend(more.cancelled);
            swept.expired.extend(more.expired);
            swept.removed.extend(more.removed);
            if !is_more {
                break;
            }
        }
        Ok(swept)
    }
}

impl Queue for SqliteQueue {
    fn name(&self) -> &str {
        &self.name
    }

    fn reserve<'a>(&'a self, key: &'a Key, token: Uuid) -> Pending<'a, Reservation> {
        let key = key.clone();
        Box::pin(self.write(move |step| step.reserve(&key, token)))
    }

    fn release<'a>(&'a self, key: &'a Key, token: Uuid) -> Pending<'a, ()> {
        let key = key.clone();
        Box::pin(self.write(move |step| step.release(&key, token)))
    }

    fn submit(&self, job: NewJob) -> Pending<'_, Submission> {
        Box::pin(self.write(move |step| step.submit(job)))
    }

    fn job(&self, id: Uuid) -> Pending<'_, Option<Job>> {
        Box::pin(self.read(move |sql| queries::job(sql, id)))
    }

    fn position(&self, id: Uuid) -> Pending<'_, Option<u64>> {
        Box::pin(self.read(move |sql| queries::position(sql, id)))
    }

    fn list<'a>(
        &'a self,
        client: &'a Client,
        state: Option<State>,
        before: Option<Uuid>,
        size: usize,
    ) -> Pending<'a, Page> {
        let client = client.to_string();
        Box::pin(self.read(move |sql| queries::list(sql, &client, state, before, size)))
    }

    fn take_in<'a>(&'a self, order: TakeOrder, worker: &'a str) -> Pending<'a, Option<Claim>> {
        let worker = worker.to_owned();
        Box::pin(self.write(move |step| step.take(order, &worker)))
    }

    fn claim(&self, id: Uuid) -> Pending<'_, Option<Claim>> {
        Box::pin(self.read(move |sql| queries::claim(sql, id)))
    }

    fn renew(&self, id: Uuid, token: u64, progress: Option<Progress>) -> Pending<'_, Hold> {
        Box::pin(self.write(move |step| step.renew(id, token, progress)))
    }

    fn finish(&self, id: Uuid, token: u64, end: End) -> Pending<'_, bool> {
        Box::pin(self.write(move |step| step.finish(id, token, end)))
    }

    fn give_back(&self, id: Uuid, token: u64, reason: GiveBack) -> Pending<'_, bool> {
        Box::pin(self.write(move |step| step.give_back(id, token, reason)))
    }

    fn cancel(&self, id: Uuid) -> Pending<'_, Option<Job>> {
        Box::pin(self.write(move |step| step.cancel(id)))
    }

    fn remove(&self, id: Uuid) -> Pending<'_, Option<Removed>> {
        Box::pin(self.write(move |step| step.remove(id)))
    }

    fn sweep(&self) -> Pending<'_, Swept> {
        Box::pin(self.sweep_all())
    }

    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method is for one lifetime only")]
    fn extend_leases(&self) -> Pending<'_, u64> {
        Box::pin(self.write(|step| step.extend_leases()))
    }

    fn unknown<'a>(&'a self, ids: &'a [Uuid]) -> Pending<'a, Vec<Uuid>> {
        let ids = ids.to_vec();
        Box::pin(self.read(move |sql| queries::unknown(sql, &ids)))
    }

    fn stats(&self) -> Pending<'_, Stats> {
        Box::pin(self.read(queries::stats))
    }

    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method is for one lifetime only")]
    fn take_delivery(&self) -> Pending<'_, Option<Delivery>> {
        Box::pin(self.write(|step| step.take_delivery()))
    }

    fn record_delivery_attempt<'a>(
        &'a self,
        delivery: &'a Delivery,
        attempt: DeliveryAttempt,
        next: NextAttempt,
    ) -> Pending<'a, bool> {
        let (job, token) = (delivery.job.id, delivery.token);
        Box::pin(self.write(move |step| step.record_delivery_attempt(job, token, attempt, next)))
    }

    fn postpone_delivery<'a>(&'a self, delivery: &'a Delivery, pause: Duration) -> Pending<'a, bool> {
        let (job, token) = (delivery.job.id, delivery.token);
        Box::pin(self.write(move |step| step.postpone_delivery(job, token, pause)))
    }

    fn redeliver(&self, id: Uuid) -> Pending<'_, bool> {
        Box::pin(self.write(move |step| step.redeliver(id)))
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.context.hints.subscribe()
    }
}
