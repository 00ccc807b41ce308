//! Storage of both kinds, and the ways in which tests open the queue in it.

use std::sync::Arc;
use std::time::Duration;

use meshgate::jobs::{Limits, Queue};

pub type AnyQueue = Arc<dyn Queue>;

/// Limits that no test reaches.
pub const LIMITS: Limits = Limits {
    jobs: 1 << 20,
    client_jobs: 1 << 20,
    bytes: 1 << 40,
    client_bytes: 1 << 40,
    ttl: Duration::from_hours(24),
};

/// A lease, or a pause, that outlives every test.
pub const HELD: Duration = Duration::from_mins(10);

/// A lease, or a pause, that is meant to end.
pub const BRIEF: Duration = Duration::from_millis(100);

/// A lifetime of jobs that is meant to end. A test has this long to look at a job before a sweep may remove it.
pub const HASTY: Duration = Duration::from_millis(500);

/// Storage of one kind, and a way to open the queue that is in it.
pub trait Side {
    /// Opens the queue as another process would. `lease`: how long jobs and webhooks are leased that it takes, and how
    /// long jobs are paused that it gives back.
    async fn open_with(&self, limits: Limits, lease: Duration) -> AnyQueue;

    /// Opens the queue with limits that no test reaches, and with leases and pauses that no test outlives.
    async fn open(&self) -> AnyQueue {
        self.open_with(LIMITS, HELD).await
    }

    /// Opens the queue twice: like `open`, and with leases and pauses that soon end.
    async fn open_pair(&self) -> (AnyQueue, AnyQueue) {
        (self.open().await, self.open_with(LIMITS, BRIEF).await)
    }

    /// Opens the queue like `open`, but its jobs soon expire.
    async fn open_hasty(&self) -> AnyQueue {
        self.open_with(Limits { ttl: HASTY, ..LIMITS }, HELD).await
    }
}
