//! Jobs, results and attempts for tests.

use std::time::Duration;

use meshgate::cache::ResultInfo;
use meshgate::domain::{Client, ConversionError, ErrorCode, Format, Stage};
use meshgate::jobs::{
    DeliveryAttempt, GiveBack, InputFile, JobResult, JobSpec, NewJob, NextAttempt, Priority, Progress,
    Timestamp,
};
use url::Url;
use uuid::Uuid;

/// The bytes that limits count for a job of [`spec_of`].
pub const JOB_BYTES: u64 = 10_000;

/// The next attempt to deliver a webhook: due at once, and after the end of every test.
pub const AT_ONCE: NextAttempt = NextAttempt::After(Duration::ZERO);
pub const LATER: NextAttempt = NextAttempt::After(Duration::from_hours(1));

/// Why workers give jobs back.
pub const REASONS: [GiveBack; 9] = [
    GiveBack::Stopping,
    GiveBack::EngineUnavailable,
    GiveBack::EngineLost,
    GiveBack::StoreUnavailable,
    GiveBack::DiskFull,
    GiveBack::OutOfMemory,
    GiveBack::Unschedulable,
    GiveBack::ClusterBusy,
    GiveBack::WorkerLost,
];

/// Progress that a worker may report.
pub const PROGRESS: Progress = Progress { stage: Stage::Packing, fraction: Some(0.5) };

pub fn client(name: &str) -> Client {
    Client::Key(name.into())
}

/// A job of this client.
pub fn spec_of(name: &str) -> JobSpec {
    const NAME: &str = "a.obj";
    JobSpec {
        // The name counts, too.
        input: vec![file(NAME, JOB_BYTES - NAME.len() as u64)],
        ..JobSpec::new(client(name), Format::Glb, "a request".to_owned())
    }
}

/// A job of this client, of low priority.
pub fn low(name: &str) -> JobSpec {
    JobSpec { priority: Priority::Low, ..spec_of(name) }
}

/// A job that a synchronous request of this client waits for.
pub fn of_request(name: &str) -> JobSpec {
    JobSpec { priority: Priority::Request, ..spec_of(name) }
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

pub fn new_job(spec: JobSpec) -> NewJob {
    NewJob { id: Uuid::now_v7(), spec, idempotency: None }
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

/// An attempt to deliver that failed at this time.
pub fn failed(at: u64) -> DeliveryAttempt {
    let error = Some(format!("could not connect, \"{at}\""));
    DeliveryAttempt { at: Timestamp(at), status: None, error }
}

/// An attempt that delivered its webhook.
pub fn delivered() -> DeliveryAttempt {
    DeliveryAttempt { at: Timestamp(1_700_000_000_000), status: Some(204), error: None }
}
