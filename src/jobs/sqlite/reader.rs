//! The thread that reads. It also notices changes by other processes, and sends hints about them.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, params};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use super::deliveries;
use super::statements::{all, number};
use super::step::Context;
use crate::jobs::queue::Hint;

/// Interval at which the thread checks for changes by other processes. A check takes microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Queries that wait for the thread, at most.
const WAITING: usize = 1024;

/// Reads something, and answers the caller.
pub type Query = Box<dyn FnOnce(&Connection) + Send>;

/// Starts the thread. It ends after the last query, once the sender is dropped.
pub fn start(connection: Connection, context: Arc<Context>) -> io::Result<mpsc::Sender<Query>> {
    let (sender, waiting) = mpsc::channel(WAITING);
    let runtime = Builder::new_current_thread().enable_time().build()?;
    thread::Builder::new().name("jobs-reader".to_owned()).spawn(move || {
        runtime.block_on(serve(&connection, &context, waiting));
    })?;
    Ok(sender)
}

/// Runs queries, and looks for changes in between. Nothing else runs on this thread, so that it may wait for the disk.
async fn serve(connection: &Connection, context: &Context, mut waiting: mpsc::Receiver<Query>) {
    let mut seen = Seen::new(connection).unwrap_or_default();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            query = waiting.recv() => match query {
                Some(query) => query(connection),
                None => return,
            },
            _ = looks.tick() => {
                if let Err(error) = seen.look(connection, context) {
                    tracing::debug!(%error, "changes of jobs by other processes could not be read");
                }
            }
        }
    }
}

/// The changes about which hints were sent.
#[derive(Default)]
struct Seen {
    /// Another number after each transaction of another connection.
    data_version: i64,
    /// The number of the latest change of a job.
    changes: i64,
}

impl Seen {
    fn new(sql: &Connection) -> rusqlite::Result<Self> {
        let data_version = number(sql, "PRAGMA data_version")?;
        Ok(Self { data_version, changes: number(sql, "SELECT changes FROM meta")? })
    }

    /// Sends hints about the jobs that other processes have changed.
    fn look(&mut self, sql: &Connection, context: &Context) -> rusqlite::Result<()> {
        let data_version = number(sql, "PRAGMA data_version")?;
        if data_version == self.data_version {
            return Ok(());
        }
        let changes = number(sql, "SELECT changes FROM meta")?;
        let jobs: Vec<(Uuid, bool)> = all(
            sql,
            "SELECT id, place IS NOT NULL FROM jobs WHERE changed > ?1 AND origin <> ?2 ORDER BY changed",
            params![self.changes, context.origin],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let is_queued = jobs.iter().any(|(_, is_waiting)| *is_waiting);
        let is_due = deliveries::is_any_due(sql, (context.clock.now)())?;
        let hints = jobs.into_iter().map(|(id, _)| Hint::Changed(id));
        let hints = hints.chain(is_queued.then_some(Hint::Queued)).chain(is_due.then_some(Hint::Delivery));
        for hint in hints {
            // Perhaps nobody listens.
            let _ = context.hints.send(hint);
        }
        *self = Self { data_version, changes };
        Ok(())
    }
}
