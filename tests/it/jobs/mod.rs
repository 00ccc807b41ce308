//! Durable jobs: one suite for every queue, and a comparison with a simple model.

/// Runs each test against each queue.
macro_rules! queues {
    ($tests:tt) => {
        suite! {
            {
                on_sqlite: crate::jobs::sqlite::SqliteSide::start(),
                on_redis: crate::jobs::redis::RedisSide::start(),
            }
            $tests
        }
    };
}

mod model;
mod redis;
mod sqlite;
mod suite;
mod ways;

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshgate::cache::ResultInfo;
use meshgate::domain::{Client, ConversionError, ErrorCode, Format, Options};
use meshgate::jobs::job::MAX_EVENTS;
use meshgate::jobs::{
    Claim, End, GiveBack, InputFile, Job, JobResult, JobSpec, Limits, NewJob, Priority, Queue, State,
    Submission, Swept,
};
use url::Url;
use uuid::Uuid;

use super::gateway::{LONG, PAUSE};

pub type AnyQueue = Arc<dyn Queue>;

/// Storage of one kind, and a way to open the queue that is in it.
pub trait Side {
    /// Opens the queue as another process would. `lease`: how long the jobs and webhooks are leased that it takes.
    async fn open_with(&self, limits: Limits, lease: Duration) -> AnyQueue;

    /// Opens the queue with limits that no test reaches, and with leases that no test outlives.
    async fn open(&self) -> AnyQueue {
        self.open_with(LIMITS, HELD).await
    }
}

/// Limits that no test reaches.
pub const LIMITS: Limits = Limits {
    jobs: 1 << 20,
    client_jobs: 1 << 20,
    bytes: 1 << 40,
    client_bytes: 1 << 40,
    ttl: Duration::from_hours(24),
};

/// A lease that outlives every test.
pub const HELD: Duration = Duration::from_mins(10);

/// A lease that is meant to end.
pub const BRIEF: Duration = Duration::from_millis(100);

/// A lifetime of jobs that is meant to end. A test has this long to look at a job before a sweep may remove it.
pub const HASTY: Duration = Duration::from_millis(500);

pub fn client(name: &str) -> Client {
    Client::Key(name.into())
}

/// A job of this client, of 10 bytes.
pub fn spec_of(name: &str) -> JobSpec {
    JobSpec {
        client: client(name),
        priority: Priority::Normal,
        input: vec![file("a.obj", 10)],
        main: None,
        target: Format::Glb,
        options: Options::default(),
        bypass_cache: false,
        webhook_url: None,
        request_id: "a request".to_owned(),
        trace_parent: None,
        retry_of: None,
    }
}

/// A job of this client that calls a webhook when it ends.
pub fn calling(name: &str) -> JobSpec {
    JobSpec { webhook_url: Some(hook()), ..spec_of(name) }
}

pub fn hook() -> Url {
    Url::parse("https://example.com/hook?a=1").unwrap()
}

pub fn file(name: &str, bytes: u64) -> InputFile {
    InputFile { name: name.to_owned(), hash: blake3::hash(name.as_bytes()), bytes }
}

/// The result that the attempt with this token writes.
pub fn result_of(token: u64) -> JobResult {
    let info = ResultInfo {
        hash: blake3::hash(&token.to_le_bytes()),
        bytes: token,
        format: Format::Glb,
        main: Some("名 \"前\".glb".into()),
        zip: token.is_multiple_of(2),
        stem: "名 \"前\"".into(),
        report: Uuid::from_u128(u128::from(token)),
        losses: 7,
    };
    JobResult { info, token }
}

pub fn failure() -> ConversionError {
    ConversionError::new(ErrorCode::EmptyModel, "the model has no \"object\"")
}

pub fn new_job(spec: JobSpec) -> NewJob {
    NewJob { id: Uuid::now_v7(), spec, idempotency: None }
}

/// Submits a job, and checks that it is new.
pub async fn submit(queue: &AnyQueue, spec: JobSpec) -> Job {
    match queue.submit(new_job(spec)).await.unwrap() {
        Submission::New(job) => job,
        other => panic!("{other:?}"),
    }
}

/// Takes the next job.
pub async fn take(queue: &AnyQueue) -> Claim {
    queue.take("a worker").await.unwrap().expect("no job is queued")
}

/// Takes the next job, and checks that it is this one.
pub async fn take_this(queue: &AnyQueue, id: Uuid) -> Claim {
    let claim = take(queue).await;
    assert_eq!(claim.job.id, id);
    claim
}

pub async fn finish(queue: &AnyQueue, claim: &Claim, end: End) -> bool {
    queue.finish(claim.job.id, claim.token, end).await.unwrap()
}

/// Ends a job as succeeded, and checks that the lease was held.
pub async fn succeed(queue: &AnyQueue, claim: &Claim) {
    assert!(finish(queue, claim, End::Succeeded(result_of(claim.token))).await);
}

pub async fn give_back(queue: &AnyQueue, claim: &Claim, reason: GiveBack) -> bool {
    queue.give_back(claim.job.id, claim.token, reason).await.unwrap()
}

/// Returns the record of a job, and checks that there is one and that it is consistent.
pub async fn record(queue: &AnyQueue, id: Uuid) -> Job {
    let job = queue.job(id).await.unwrap().expect("there is no record");
    check_record(&job);
    job
}

/// Sweeps until `reached` accepts what a sweep did; returns that.
pub async fn sweep_until(queue: &AnyQueue, what: &str, reached: impl Fn(&Swept) -> bool) -> Swept {
    let began = Instant::now();
    loop {
        let swept = queue.sweep().await.unwrap();
        if reached(&swept) {
            return swept;
        }
        assert!(began.elapsed() < LONG, "never: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sweeps until the lease of a running job has ended.
pub async fn lose(queue: &AnyQueue, id: Uuid) {
    let is_lost = |swept: &Swept| swept.requeued.contains(&id) || swept.ended.contains(&id);
    sweep_until(queue, "its lease ends", is_lost).await;
}

/// Whether a job may be in the state `after` next.
fn may_follow(before: State, after: State) -> bool {
    match before {
        State::Queued => matches!(after, State::Running | State::Cancelled | State::Expired),
        // Progress and a request to cancel leave it running.
        State::Running => after != State::Expired,
        ended => ended == after,
    }
}

/// Checks what is true of every record.
pub fn check_record(job: &Job) {
    let events = &job.events;
    assert!((1..=MAX_EVENTS).contains(&events.len()), "{job:?}");
    let last = events.last().map(|event| (event.id, event.state));
    assert_eq!(last, Some((job.version, job.state)), "{job:?}");
    for pair in events.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        assert!(before.id < after.id, "{job:?}");
        assert!(may_follow(before.state, after.state), "{job:?}");
        assert!(before.progress.is_none() || after.progress.is_none(), "{job:?}");
        let is_requeued = before.state == State::Running && after.state == State::Queued;
        assert!(after.reason.is_some() || !is_requeued, "{job:?}");
    }
    assert_eq!(job.ended_at.is_some(), job.state.has_ended(), "{job:?}");
    assert_eq!(job.result.is_some(), job.state == State::Succeeded, "{job:?}");
    assert_eq!(job.error.is_some(), job.state == State::Failed, "{job:?}");
    assert!(job.started_at.is_some() || job.state != State::Running, "{job:?}");
}
