//! The trait of what keeps jobs, and the data that it takes and returns.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::broadcast;
use url::Url;
use uuid::Uuid;

use super::job::{DeliveryAttempt, GiveBack, Job, JobResult, JobSpec, Progress, State, Timestamp};
use crate::domain::{Client, ConversionError};
use crate::storage::Hash;

/// How long a worker has a job without renewing it.
pub const LEASE: Duration = Duration::from_secs(10);

/// How long a job waits after its worker lacked something that other workers may have.
pub const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// How long a job that should be removed is kept while its webhook is not delivered, at a time.
pub const KEPT_FOR_WEBHOOK: Duration = Duration::from_mins(1);

/// How long after the end of a job its webhook may keep the record: longer than all attempts to deliver it. A service
/// without `WEBHOOK_SECRET` makes none.
pub const WEBHOOK_LIFE: Duration = Duration::from_hours(48);

/// A sweep that begins so long after it was asked for ends no lease: whatever kept it waiting may have kept workers from
/// renewing theirs.
pub const LATE_SWEEP: Duration = Duration::from_secs(2);

/// How long a webhook that was taken is leased: longer than an attempt to deliver it, since nobody renews it.
pub const DELIVERY_LEASE: Duration = Duration::from_secs(30);

/// Attempts of a job, unless they are given back through no fault of the job.
pub const MAX_ATTEMPTS: u32 = 3;

/// How long a key for idempotency is kept after the job was submitted.
pub const IDEMPOTENCY_LIFE: Duration = Duration::from_hours(24);

/// How long a key stays reserved without being renewed, while its request is being received.
pub const RESERVATION_LIFE: Duration = Duration::from_secs(30);

/// The future of an operation.
pub type Pending<'a, T> = BoxFuture<'a, Result<T, QueueError>>;

/// Keeps jobs, hands them to workers, and takes their results. Each operation is one atomic step, and durable when it
/// returns. An error says nothing about whether the step was done.
pub trait Queue: Send + Sync {
    /// The file or address, for people.
    fn name(&self) -> &str;

    /// Reserves a client's key while its request is received, for [`RESERVATION_LIFE`]; again with the same `token` to
    /// renew it. A key that was used for a job is free: [`Queue::submit`] compares the contents, for [`IDEMPOTENCY_LIFE`]
    /// and even if that job was removed.
    fn reserve<'a>(&'a self, key: &'a Key, token: Uuid) -> Pending<'a, Reservation>;

    /// Gives up a reservation, if `token` still holds it.
    fn release<'a>(&'a self, key: &'a Key, token: Uuid) -> Pending<'a, ()>;

    /// Records a job whose model is in the store.
    fn submit(&self, job: NewJob) -> Pending<'_, Submission>;

    fn job(&self, id: Uuid) -> Pending<'_, Option<Job>>;

    /// Returns how many queued jobs of the same client a queued job waits for in the usual order, plus one; `None` if it is
    /// not queued.
    fn position(&self, id: Uuid) -> Pending<'_, Option<u64>>;

    /// Lists a client's jobs, newest first: at most `size` that are older than the job `before`.
    fn list<'a>(
        &'a self,
        client: &'a Client,
        state: Option<State>,
        before: Option<Uuid>,
        size: usize,
    ) -> Pending<'a, Page>;

    /// Takes the next job for [`LEASE`], if there is one. The client with the fewest running jobs is next; among equals,
    /// the one that was served longest ago. Of its jobs, that of the highest priority is next; `order` may put those of
    /// requests behind the others. `worker` is for people.
    fn take_in<'a>(&'a self, order: TakeOrder, worker: &'a str) -> Pending<'a, Option<Claim>>;

    /// Takes the next job in the usual order.
    fn take<'a>(&'a self, worker: &'a str) -> Pending<'a, Option<Claim>> {
        self.take_in(TakeOrder::RequestsFirst, worker)
    }

    /// Returns a running job and the token of its attempt; `None` unless it runs. Whoever has them holds the job together
    /// with the worker that took it: each of them may renew the lease, and the first one that finishes the job or gives
    /// it back decides. Only one of them may store a result, since its name has the token.
    fn claim(&self, id: Uuid) -> Pending<'_, Option<Claim>>;

    /// Renews the lease, and records progress. A lease that has ended is still held until a sweep ends it: as long as
    /// nobody else may take the job, there is no reason to lose the attempt.
    fn renew(&self, id: Uuid, token: u64, progress: Option<Progress>) -> Pending<'_, Hold>;

    /// Ends a running job, and records the delivery of its webhook. `true` also if this attempt has ended the job in the
    /// same way before, and the answer got lost. `false`: the lease was lost, and nothing changed. A job that was to be
    /// cancelled ends as cancelled, whatever `end` is: the client was told so.
    fn finish(&self, id: Uuid, token: u64, end: End) -> Pending<'_, bool>;

    /// Queues a running job again; the worker cannot end it any more. It goes before all others of its client and
    /// priority, or, if [`GiveBack::is_paused`], behind them after [`RETRY_PAUSE`]. A job whose attempts are used up
    /// fails instead, and one that was to be cancelled is cancelled. `false`: the lease was lost.
    fn give_back(&self, id: Uuid, token: u64, reason: GiveBack) -> Pending<'_, bool>;

    /// Cancels a queued job; asks the worker of a running one to cancel it. Returns the job after that. A job that has
    /// ended stays as it is.
    fn cancel(&self, id: Uuid) -> Pending<'_, Option<Job>>;

    /// Removes the record of a job, whatever its state; its worker loses the lease. `None`: there was none.
    fn remove(&self, id: Uuid) -> Pending<'_, Option<Removed>>;

    /// Queues jobs whose lease has ended, expires and removes what is too old. Any process may call it at any time. A job
    /// whose webhook is not delivered is removed later: [`KEPT_FOR_WEBHOOK`] at a time, and [`WEBHOOK_LIFE`] in all.
    fn sweep(&self) -> Pending<'_, Swept>;

    /// Lets leases that have ended go on for [`LEASE`], after a time in which workers could not renew them. Returns their
    /// number. Jobs whose worker was lost are found by the first sweep after that.
    fn extend_leases(&self) -> Pending<'_, u64>;

    /// Returns which of these jobs have no record, to remove their objects.
    fn unknown<'a>(&'a self, ids: &'a [Uuid]) -> Pending<'a, Vec<Uuid>>;

    fn stats(&self) -> Pending<'_, Stats>;

    /// Takes a webhook that is due, for [`DELIVERY_LEASE`].
    fn take_delivery(&self) -> Pending<'_, Option<Delivery>>;

    /// Records an attempt to deliver, and when the next one is due. `false`: the lease was lost.
    fn record_delivery_attempt<'a>(
        &'a self,
        delivery: &'a Delivery,
        attempt: DeliveryAttempt,
        next: NextAttempt,
    ) -> Pending<'a, bool>;

    /// Returns a webhook that was taken and not sent; it may be taken again after `pause`. `false`: the lease was lost.
    fn postpone_delivery<'a>(&'a self, delivery: &'a Delivery, pause: Duration) -> Pending<'a, bool>;

    /// Makes the webhook of a job that has ended due at once, whether or not it was delivered. `false`: there is none.
    /// Whoever is just sending it loses the lease, and its attempt is not recorded.
    fn redeliver(&self, id: Uuid) -> Pending<'_, bool>;

    /// Returns a receiver of hints from now on. Hints may be lost; a receiver that lags has to ask about everything.
    fn hints(&self) -> broadcast::Receiver<Hint>;
}

/// The queue cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    #[error("{0}")]
    Failed(String),
    /// Its memory is full, so it takes no new jobs; everything else works.
    #[error("{0}")]
    Full(String),
}

/// A client's key for idempotency, and the path that it was sent to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub client: Client,
    pub path: &'static str,
    /// At most 255 characters.
    pub key: String,
}

/// A key, and the content that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    pub key: Key,
    /// The token of its reservation.
    pub token: Uuid,
    /// The BLAKE3 of everything that the request asks for.
    pub fingerprint: Hash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    Reserved,
    /// Another request with the same key is in flight.
    InFlight,
}

/// A job to be recorded.
#[derive(Debug, Clone)]
pub struct NewJob {
    pub id: Uuid,
    pub spec: JobSpec,
    pub idempotency: Option<Idempotency>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Submission {
    New(Job),
    /// The job that was submitted earlier with the same key and the same content.
    Replayed(Job),
    Refused(Refusal),
}

/// Why a job is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The key was used with another content.
    KeyReused,
    /// The reservation was lost to another request with the same key.
    KeyInFlight,
    /// The client has as many queued jobs as it may have.
    ClientJobs,
    /// The queue is full.
    Jobs,
    /// The models of the client's queued jobs are too large together.
    ClientBytes,
    /// The models of all queued jobs are too large together.
    Bytes,
}

/// The limits of queued and running jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub jobs: u64,
    pub client_jobs: u64,
    /// [`JobSpec::bytes`] of them together.
    pub bytes: u64,
    pub client_bytes: u64,
    /// How long a job may wait to be begun, and how long it is kept after its end.
    pub ttl: Duration,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    pub jobs: Vec<Job>,
    /// The last of these jobs, if there are more.
    pub next: Option<Uuid>,
}

/// A job that a worker has taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    pub job: Job,
    /// Increases with every take of this job. It follows the clock, so that no two takes have the same token even if the
    /// record was lost and set back in between.
    pub token: u64,
}

/// Which of the jobs of one client a worker takes first. A worker that always chose the same would let the others wait for
/// ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeOrder {
    /// Those of requests (see [`JobSpec::is_of_request`]).
    RequestsFirst,
    /// The others.
    RequestsLast,
}

/// The answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    Held,
    /// The lease is held, and the client wants the job cancelled.
    Cancelled,
    /// A sweep has ended the lease, or the record was removed.
    Lost,
}

/// How a worker ends a job.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    Succeeded(JobResult),
    Failed(ConversionError),
    Cancelled,
}

impl End {
    /// The state that the worker reports.
    pub const fn state(&self) -> State {
        match self {
            End::Succeeded(_) => State::Succeeded,
            End::Failed(_) => State::Failed,
            End::Cancelled => State::Cancelled,
        }
    }
}

/// What a sweep did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// Jobs that were queued again because their lease ended.
    pub requeued: Vec<Uuid>,
    /// Jobs that failed because their lease ended, and their attempts are used up.
    pub dead: Vec<Uuid>,
    /// Jobs that were to be cancelled, and ended because their lease did.
    pub cancelled: Vec<Uuid>,
    /// Jobs that expired.
    pub expired: Vec<Uuid>,
    /// Records that were removed; their objects are to be removed, too.
    pub removed: Vec<Removed>,
}

/// A record that was removed, and what its objects are called after.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Removed {
    pub id: Uuid,
    /// Files of the model.
    pub files: usize,
    /// The tokens of its attempts that the record knows, oldest first; of very many, the latest ones.
    pub tokens: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// The number of jobs in each state, in the order of [`State::ALL`].
    pub jobs: [u64; 6],
    /// [`JobSpec::bytes`] of queued and running jobs together.
    pub bytes: u64,
    /// When the job that has been queued longest was submitted.
    pub oldest_queued_at: Option<Timestamp>,
    /// Webhooks that are not delivered yet.
    pub deliveries: u64,
}

/// A webhook to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The same for all attempts.
    pub id: Uuid,
    pub job: Job,
    pub url: Url,
    /// When the job ended.
    pub occurred_at: Timestamp,
    /// Attempts before this one.
    pub attempts: u32,
    /// Increases with every take of this delivery.
    pub token: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextAttempt {
    /// Delivered, or given up.
    Never,
    After(Duration),
}

/// Says that something has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// A job is queued.
    Queued,
    /// A job has a new version, or is to be cancelled.
    Changed(Uuid),
    /// A webhook is due.
    Delivery,
}
