//! Traps: they stop a service at a moment of a job, so that a process can be killed there.

use rusqlite::Connection;

use super::{Cluster, Queue};
use crate::gateway::{Gateway, until};
use crate::redis::{Hold, Proxy};

/// A moment between two steps of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The model is stored, and the job is not recorded.
    BeforeRecord,
    /// The job is recorded, and the client has no response.
    AfterRecord,
    /// A worker was given the job, and has not begun.
    AfterTake,
    /// The result is stored, and its end is not recorded.
    BeforeEnd,
    /// The end is recorded, and no webhook was sent.
    AfterEnd,
}

/// Stops the service at a moment, until it is dropped.
pub enum Trap<'a> {
    /// The queue in Redis gets no commands, or its answers get lost.
    Proxy(&'a Proxy),
    /// Nobody else can write to the queue in SQLite.
    Locked(#[expect(dead_code, reason = "holds the lock")] Connection),
    /// SQLite answers within the process. It is only seen that the moment was reached; the process goes on.
    Seen,
}

impl Cluster {
    /// Sets a trap for the next job, before it is submitted.
    pub fn set_trap(&self, moment: Moment, worker: &Gateway) -> Option<Trap<'_>> {
        let Queue::Redis(_, proxy) = &self.queue else {
            // Later moments are waited for first.
            return (moment == Moment::BeforeRecord).then(|| Trap::Locked(self.lock()));
        };
        // What only this command contains: the specification of the job, the name of the worker, or the result.
        let taking = format!("\r\n{}-", worker.pid());
        let (text, hold) = match moment {
            Moment::BeforeRecord => ("\"target\":", Hold::Command),
            Moment::AfterRecord => ("\"target\":", Hold::Answer),
            Moment::AfterTake => (taking.as_str(), Hold::Answer),
            Moment::BeforeEnd => ("\"info\":", Hold::Command),
            Moment::AfterEnd => ("\"info\":", Hold::Answer),
        };
        proxy.hold(hold, text);
        Some(Trap::Proxy(proxy))
    }

    /// Waits until the moment is reached; blocks the task.
    pub fn until_trapped<'a>(&'a self, moment: Moment, trap: Option<Trap<'a>>) -> Trap<'a> {
        if let Some(Trap::Proxy(proxy)) = trap {
            until("the moment is reached", || proxy.is_holding());
            return Trap::Proxy(proxy);
        }
        let counts = |state: &str| {
            let sql = self.sqlite();
            let count = "SELECT count(*) FROM jobs WHERE state = ?1";
            sql.query_row(count, [state], |row| row.get::<_, u32>(0)).is_ok_and(|jobs| jobs > 0)
        };
        match moment {
            Moment::BeforeRecord => until("the model is stored", || !self.objects("model").is_empty()),
            Moment::AfterRecord => {
                until("it is recorded", || ["queued", "running", "succeeded"].into_iter().any(counts));
            }
            Moment::AfterTake => until("it is taken", || counts("running")),
            Moment::BeforeEnd => {
                until("it is taken", || counts("running"));
                let lock = self.lock();
                until("the result is stored", || !self.objects("result").is_empty());
                return Trap::Locked(lock);
            }
            Moment::AfterEnd => until("it has ended", || counts("succeeded")),
        }
        trap.unwrap_or(Trap::Seen)
    }

    /// Keeps all others from writing to the queue in SQLite.
    fn lock(&self) -> Connection {
        let sql = self.sqlite();
        sql.busy_timeout(crate::gateway::LONG).unwrap();
        sql.execute_batch("BEGIN IMMEDIATE").unwrap();
        sql
    }
}

impl Drop for Trap<'_> {
    fn drop(&mut self) {
        if let Trap::Proxy(proxy) = self {
            proxy.release();
        }
    }
}
