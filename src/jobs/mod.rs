//! Durable jobs: conversions that are accepted for later, and survive the death of any process.
//!
//! ```text
//!            submit                  take                        finish
//!  client ──────────▶ queued ────────────────▶ running ──────────────────────▶ succeeded or failed
//!                      │  ▲                     │  │ │
//!                      │  └── given back, ──────┘  │ └─ three attempts lost ──▶ failed (engine_crashed)
//!                      │      or lease lost        │
//!                      ├── cancel ─────────────────┴─ cancel, learned by the next renewal ──▶ cancelled
//!                      └── not begun within JOBS_TTL ──▶ expired
//! ```
//!
//! - **The record is the truth.** A [`Queue`] keeps it: SQLite in `DATA_DIR`, or a Redis that persists. Hints
//!   ([`Queue::hints`]) only save time; everything that waits for one also asks again after a while.
//! - **A lease** belongs to the worker that runs a job. The worker renews it once a second. A sweep queues jobs whose
//!   lease has ended; until then, the worker keeps its job, even if the queue does not answer. Leases are measured by
//!   the clock of the queue, never by that of a worker.
//! - **A token** tells the attempts of a job apart. Whoever lost its lease has an old token, and can neither renew, nor
//!   finish, nor give back the job. It writes its result under a name with its token, which no record refers to. Tokens
//!   follow the clock, so that a queue that was set back, and has forgotten an attempt, gives its token to no other.
//! - **Model, result and report** lie in the store (`storage::JobObject`), so that any worker can take any job. The model
//!   is removed when the job has succeeded, the rest with the record; [`Queue::sweep`] says which records are gone.
//! - **Heavy jobs** run in Kubernetes Jobs with memory of their own ([`kubernetes`]).
//! - **End states never change.** A retry is a new job with the same model.
//! - **A synchronous request** to a process without an engine becomes a job that it waits for: of the highest priority, hidden
//!   from clients, and removed with its request ([`AwaitedJob`]).

mod attempt;
mod awaited;
mod errors;
mod hints;
pub mod job;
pub mod kubernetes;
mod lease;
mod maintenance;
mod placement;
pub mod queue;
mod redis;
mod service;
mod sqlite;
mod worker;

pub use attempt::{AttemptEnd, RunsIn, WorkerParts};
pub use awaited::AwaitedJob;
pub use hints::hinted;
pub use job::{
    DeliveryAttempt, Event, GiveBack, InputFile, Job, JobResult, JobSpec, Priority, Progress, State,
    Timestamp,
};
pub use maintenance::maintain;
pub use placement::ExecutorChoice;
pub use queue::{
    Claim, Delivery, End, Hint, Hold, Idempotency, Key, Limits, NewJob, NextAttempt, Page, Pending, Queue,
    QueueError, Refusal, Removed, Reservation, Stats, Submission, Swept, TakeOrder,
};
pub use redis::RedisQueue;
pub use service::{Jobs, SubmitError};
pub use sqlite::{SqliteQueue, examine_file};
pub use worker::Worker;
