//! A job as plain data.

use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use url::Url;
use uuid::Uuid;

use super::placement::ExecutorChoice;
use crate::cache::ResultInfo;
use crate::conversion::Upload;
use crate::domain::{Census, Client, ConversionError, Format, Options, Stage};
use crate::storage::Hash;

/// Most events of a job. Progress replaces the progress before it, so that only attempts add events.
pub const MAX_EVENTS: usize = 32;

/// Most attempts to deliver its webhook that a job shows: the latest.
pub const MAX_DELIVERY_ATTEMPTS: usize = 20;

/// Least bytes that a file takes in a store.
const BLOCK: u64 = 4096;

/// A point in time, in milliseconds since 1970, by the clock of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// A conversion that was accepted for later.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// A UUID of version 7.
    pub id: Uuid,
    pub spec: JobSpec,
    pub state: State,
    /// Increases with every change; the `ETag`. Those that a client can follow are events, which have it as their ID.
    pub version: u64,
    pub created_at: Timestamp,
    /// The start of the latest attempt.
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// When the job expires, or is removed if it has ended.
    pub expires_at: Timestamp,
    /// Attempts that began, except those that were given back through no fault of the job.
    pub attempts: u32,
    pub progress: Option<Progress>,
    /// Present once it has succeeded.
    pub result: Option<JobResult>,
    /// Present once it has failed.
    pub error: Option<ConversionError>,
    /// A running job whose client wants it cancelled.
    pub cancel_requested: bool,
    /// The memory limit of the next attempt, as a multiple of `WORKER_MEMORY_LIMIT`.
    pub memory_factor: u32,
    /// The latest changes, oldest first; see [`MAX_EVENTS`].
    pub events: Vec<Event>,
    /// Attempts to deliver the webhook, oldest first.
    pub deliveries: Vec<DeliveryAttempt>,
}

/// The part of a job that never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    pub client: Client,
    #[serde(default)]
    pub priority: Priority,
    /// The files of the model, in the order of the conversion's identity.
    pub input: Vec<InputFile>,
    /// The name of the main file among several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<String>,
    pub target: Format,
    pub options: Options,
    /// Converts, whatever is cached.
    #[serde(default)]
    pub bypass_cache: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<Url>,
    /// The ID of the request that submitted the job, for logs.
    pub request_id: String,
    /// The W3C `traceparent` of that request, so that the worker continues its trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_parent: Option<String>,
    /// The job that this one retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<Uuid>,
    /// Where the client wants it to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<ExecutorChoice>,
    /// What was counted in the model, if it may be heavy and can be counted without Blender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub census: Option<Census>,
}

/// A file of the model. Its content is in the store, by the job and its place in the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputFile {
    /// The client's name for it; empty if it was sent without one.
    pub name: String,
    #[serde(with = "crate::cache::hex")]
    pub hash: Hash,
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "JobState")]
pub enum State {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    /// Not begun within `JOBS_TTL`.
    Expired,
}

/// A client's jobs of normal priority go before its own ones of low priority. Between clients, it makes no difference.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "JobPriority")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    // That of the job of a synchronous request, see `JobSpec::is_of_request`. The API neither shows nor offers it.
    #[schemars(skip)]
    Request,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JobProgress")]
pub struct Progress {
    pub stage: Stage,
    /// The part of the stage that is done, from 0 to 1, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fraction: Option<f64>,
}

/// The result of a job that succeeded. Content and report are in the store, by the job and the token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    pub info: ResultInfo,
    /// The token of the attempt that wrote them.
    pub token: u64,
}

/// A change of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The job's version after the change.
    pub id: u64,
    pub at: Timestamp,
    pub state: State,
    /// The attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Present if only the progress changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub progress: Option<Progress>,
    /// Why a job that was running is queued again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<GiveBack>,
}

/// Why a job is queued again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GiveBack {
    /// The worker stops. Not an attempt.
    Stopping,
    /// The worker has no engine. Not an attempt.
    EngineUnavailable,
    /// Blender went down, or was killed, twice during the conversion, perhaps because of this job.
    EngineLost,
    /// The store could not be used, or took too long. Not an attempt.
    StoreUnavailable,
    /// The disk of the worker is full, perhaps because of this job.
    DiskFull,
    /// It ran out of memory; the next attempt may use twice as much.
    OutOfMemory,
    /// The cluster found no place for the Kubernetes Job; a worker runs the next attempt. Not an attempt.
    Unschedulable,
    /// As many heavy jobs wait in the worker for the cluster as it keeps there. Not an attempt.
    ClusterBusy,
    /// The worker did not renew its lease, or the Kubernetes Job ended without an end of the job.
    WorkerLost,
}

/// An attempt to deliver a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryAttempt {
    pub at: Timestamp,
    /// The status of the response, if there was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// Why it failed; `None` if it was delivered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

impl State {
    pub const ALL: [State; 6] =
        [State::Queued, State::Running, State::Succeeded, State::Failed, State::Cancelled, State::Expired];

    /// The name in the API, in metrics and in the record.
    pub const fn word(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Running => "running",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Expired => "expired",
        }
    }

    pub fn from_word(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether the state never changes any more.
    pub const fn has_ended(self) -> bool {
        !matches!(self, State::Queued | State::Running)
    }
}

impl Priority {
    /// The name in the record, and in the API.
    pub const fn word(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::Request => "request",
        }
    }

    /// Returns the priority that a client asks for with this word.
    pub fn from_word(word: &str) -> Option<Priority> {
        [Priority::Low, Priority::Normal].into_iter().find(|priority| priority.word() == word)
    }
}

impl InputFile {
    pub fn of(upload: &Upload) -> Self {
        Self { name: upload.name.clone(), hash: upload.hash, bytes: upload.bytes }
    }
}

impl JobSpec {
    /// A job of this request that asks for nothing but the target; it has no files yet.
    pub fn new(client: Client, target: Format, request_id: String) -> Self {
        Self {
            client,
            priority: Priority::default(),
            input: Vec::new(),
            main: None,
            target,
            options: Options::default(),
            bypass_cache: false,
            webhook_url: None,
            request_id,
            trace_parent: None,
            retry_of: None,
            executor: None,
            census: None,
        }
    }

    /// Whether a synchronous request waits for the job. Such a job is removed when its request ends, and clients do not see
    /// it.
    pub fn is_of_request(&self) -> bool {
        self.priority == Priority::Request
    }

    /// Bytes that the model and the record take, for limits: many small files must not get around these.
    pub fn bytes(&self) -> u64 {
        self.input.iter().map(|file| file.bytes.max(BLOCK) + file.name.len() as u64).sum()
    }
}

#[cfg(test)]
impl JobSpec {
    /// A job without files, for tests.
    pub fn sample(client: Client) -> Self {
        Self::new(client, Format::Glb, "a request".to_owned())
    }
}

impl GiveBack {
    /// Those that count as attempts come first.
    pub const ALL: [GiveBack; 9] = [
        GiveBack::WorkerLost,
        GiveBack::EngineLost,
        GiveBack::DiskFull,
        GiveBack::OutOfMemory,
        GiveBack::Stopping,
        GiveBack::EngineUnavailable,
        GiveBack::StoreUnavailable,
        GiveBack::Unschedulable,
        GiveBack::ClusterBusy,
    ];

    /// Whether the attempt counts.
    pub const fn counts(self) -> bool {
        matches!(
            self,
            GiveBack::EngineLost | GiveBack::DiskFull | GiveBack::OutOfMemory | GiveBack::WorkerLost
        )
    }

    /// Whether the job is queued only after a pause, behind the other jobs of its client. What this worker lacks, others
    /// may lack as well; meanwhile, jobs that can do without it should go on.
    pub const fn is_paused(self) -> bool {
        matches!(
            self,
            GiveBack::EngineUnavailable
                | GiveBack::EngineLost
                | GiveBack::StoreUnavailable
                | GiveBack::DiskFull
                | GiveBack::ClusterBusy
        )
    }

    /// The name in the API, in the record and in metrics. A worker that lost its lease is counted as `lost`, though.
    pub const fn word(self) -> &'static str {
        match self {
            GiveBack::Stopping => "stopping",
            GiveBack::EngineUnavailable => "engine_unavailable",
            GiveBack::EngineLost => "engine_lost",
            GiveBack::StoreUnavailable => "store_unavailable",
            GiveBack::DiskFull => "disk_full",
            GiveBack::OutOfMemory => "out_of_memory",
            GiveBack::Unschedulable => "unschedulable",
            GiveBack::ClusterBusy => "cluster_busy",
            GiveBack::WorkerLost => "worker_lost",
        }
    }
}

impl Job {
    /// A job that was submitted `now`, and that nobody has begun.
    pub fn queued(id: Uuid, spec: JobSpec, now: Timestamp, expires_at: Timestamp) -> Self {
        let mut job = Self {
            id,
            spec,
            state: State::Queued,
            version: 1,
            created_at: now,
            started_at: None,
            ended_at: None,
            expires_at,
            attempts: 0,
            progress: None,
            result: None,
            error: None,
            cancel_requested: false,
            memory_factor: 1,
            events: Vec::new(),
            deliveries: Vec::new(),
        };
        job.record_event(now, None, None);
        job
    }

    /// Adds an event for the change that led to the current version.
    pub fn record_event(&mut self, at: Timestamp, progress: Option<Progress>, reason: Option<GiveBack>) {
        if progress.is_some() {
            self.events.pop_if(|last| last.progress.is_some());
        }
        let event =
            Event { id: self.version, at, state: self.state, attempt: self.attempts, progress, reason };
        self.events.push(event);
        let excess = self.events.len().saturating_sub(MAX_EVENTS);
        self.events.drain(..excess);
    }
}

impl Timestamp {
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(since.as_millis() as u64)
    }

    /// The time since then, by the clock of this machine.
    pub fn age(self) -> Duration {
        Self::now().since(self)
    }

    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_millis() as u64))
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_millis() as u64))
    }

    /// Returns the time in UTC in the form of RFC 3339, with milliseconds. Times after the year 9999 become 1970.
    pub fn to_rfc3339(self) -> String {
        let (seconds, milliseconds) = ((self.0 / 1000).cast_signed(), self.0 % 1000);
        let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let ((year, month, day), (hour, minute, second)) = (time.to_calendar_date(), time.to_hms());
        let month = u8::from(month);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        for (milliseconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_796_028_931_042, "2026-11-30T08:55:31.042Z"),
            (1_709_164_799_999, "2024-02-28T23:59:59.999Z"),
            (1_700_000_000_120, "2023-11-14T22:13:20.120Z"),
            // Beyond the calendar, it is wrong, but no panic.
            (u64::MAX, "1970-01-01T00:00:00.615Z"),
        ] {
            assert_eq!(Timestamp(milliseconds).to_rfc3339(), expected);
        }
    }

    fn spec(files: &[(&str, u64)]) -> JobSpec {
        let file = |&(name, bytes): &(&str, u64)| InputFile {
            name: name.to_owned(),
            hash: blake3::hash(b"model"),
            bytes,
        };
        JobSpec { input: files.iter().map(file).collect(), ..JobSpec::sample(Client::Local) }
    }

    #[test]
    fn the_bytes_of_a_job_are_those_of_its_files_and_names() {
        assert_eq!(spec(&[]).bytes(), 0);
        assert_eq!(spec(&[("a.obj", 10_000)]).bytes(), 10_005);
        // Names count in bytes, not in characters.
        assert_eq!(spec(&[("名.obj", 10_000), ("", 5000)]).bytes(), 10_007 + 5000);
    }

    #[test]
    fn a_small_file_counts_as_a_block() {
        for bytes in [0, 1, 4095, 4096] {
            assert_eq!(spec(&[("a", bytes)]).bytes(), 4097);
        }
        assert_eq!(spec(&[("a", 4097)]).bytes(), 4098);
        assert_eq!(spec(&vec![("", 0); 1000]).bytes(), 4_096_000);
    }

    #[test]
    fn specs_of_earlier_versions_are_read() {
        let spec = JobSpec::sample(Client::Local);
        let json = serde_json::to_string(&spec).unwrap();
        assert!(!json.contains("executor") && !json.contains("census"), "{json}");
        assert_eq!(serde_json::from_str::<JobSpec>(&json).unwrap(), spec);
    }

    #[test]
    fn words_of_states_and_priorities_are_read_again() {
        for state in State::ALL {
            assert_eq!(State::from_word(state.word()), Some(state));
        }
        for priority in [Priority::Low, Priority::Normal] {
            assert_eq!(Priority::from_word(priority.word()), Some(priority));
        }
        assert_eq!((State::from_word("paused"), Priority::from_word("high")), (None, None));
    }

    #[test]
    fn clients_cannot_ask_for_the_priority_of_requests() {
        assert_eq!(Priority::from_word(Priority::Request.word()), None);
        assert!(Priority::Request > Priority::Normal && Priority::Normal > Priority::Low);
        // The word is also that of the record.
        for priority in [Priority::Low, Priority::Normal, Priority::Request] {
            assert_eq!(serde_json::to_value(priority).unwrap(), priority.word());
        }
    }
}
