//! What HTTP may do with jobs: submit, find, wait, cancel, retry, remove, and read results.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::hints::hinted;
use super::job::{InputFile, Job, JobSpec, State, Timestamp};
use super::queue::{
    Hint, Idempotency, Limits, MAX_ATTEMPTS, NewJob, Queue, QueueError, Refusal, Removed, Stats, Submission,
    Swept, WEBHOOK_LIFE,
};
use crate::conversion::Upload;
use crate::domain::{ConversionError, Report};
use crate::fs::blob::Blob;
use crate::storage::{self, JobObject, OldJobObject, Storage, URL_LIFETIME, Url};
use crate::telemetry::otlp;

/// How often whoever waits for a change asks for it, whatever hints there are.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// More than all attempts of a job run together.
const LONGEST_RUN: Duration = Duration::from_hours(24);

/// IDs that the queue is asked about at a time.
const ASKED_AT_ONCE: usize = 500;

/// Objects of a job that are removed at a time.
const REMOVED_AT_ONCE: usize = 8;

/// The age up to which the numbers of jobs may refuse a job: they are usually counted every two seconds.
const COUNTED_WITHIN: Duration = Duration::from_secs(10);

/// A submission without an answer is not recorded any more after this time.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// A result that is removed sooner than this gets no presigned URL: a client might come too late.
const SHORTEST_URL_LIFETIME: Duration = Duration::from_mins(1);

/// The jobs of this service. Clones share everything.
#[derive(Clone)]
pub struct Jobs {
    queue: Arc<dyn Queue>,
    storage: Storage,
    /// Folder for large objects that are fetched from a bucket.
    spool: PathBuf,
    limits: Limits,
    /// The age that no object of a job exceeds, unless workers that stop give the job back again and again.
    longest_life: Duration,
    counted: Arc<Mutex<Counted>>,
    /// Jobs whose submission had no answer, and when: nobody knows whether they are recorded.
    unanswered: Arc<Mutex<VecDeque<(Instant, Removed)>>>,
    dead: Arc<AtomicU64>,
    /// The tasks that remove jobs of requests.
    pub(super) removals: TaskTracker,
}

/// The numbers of jobs, and when they were counted.
#[derive(Default)]
struct Counted {
    stats: Stats,
    at: Option<Instant>,
}

/// Why a job could not be submitted, apart from refusals.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Store(#[from] storage::Error),
    #[error(transparent)]
    Upload(#[from] ConversionError),
}

impl Jobs {
    /// `spool`: a folder on this machine for large objects from a bucket. `limits`: those of the queue.
    pub fn new(queue: Arc<dyn Queue>, storage: Storage, spool: PathBuf, limits: Limits) -> Self {
        // A job waits for each attempt, runs, and is kept after its end, perhaps for its webhook.
        let ttls = limits.ttl.saturating_mul(MAX_ATTEMPTS + 1);
        let longest_life = ttls.saturating_add(LONGEST_RUN + WEBHOOK_LIFE);
        Self {
            queue,
            storage,
            spool,
            limits,
            longest_life,
            counted: Arc::default(),
            unanswered: Arc::default(),
            dead: Arc::default(),
            removals: TaskTracker::new(),
        }
    }

    pub fn queue(&self) -> &Arc<dyn Queue> {
        &self.queue
    }

    /// How long a job may wait, and is kept after its end.
    pub fn ttl(&self) -> Duration {
        self.limits.ttl
    }

    /// Returns a limit that another job would exceed whose model has this many bytes at least, by the latest numbers of
    /// jobs. They are some seconds old and do not tell clients apart, so the queue decides when the job is submitted.
    pub fn expected_refusal(&self, bytes: u64) -> Option<Refusal> {
        let Stats { jobs: [queued, running, ..], bytes: unfinished, .. } = {
            let counted = lock(&self.counted);
            counted.at.filter(|at| at.elapsed() < COUNTED_WITHIN)?;
            counted.stats.clone()
        };
        let checks = [
            (Refusal::Jobs, queued + running >= self.limits.jobs),
            (Refusal::ClientBytes, bytes > self.limits.client_bytes),
            (Refusal::Bytes, unfinished.saturating_add(bytes) > self.limits.bytes),
        ];
        checks.into_iter().find(|(_, is_exceeded)| *is_exceeded).map(|(refusal, _)| refusal)
    }

    /// Stores the model, and records the job. `spec.input` is filled in from the uploads. When it returns, both are
    /// durable; the model of a job of a request is as durable as it has to be while the request waits. What was stored for
    /// a job that is not recorded is removed.
    pub async fn submit(
        &self,
        mut spec: JobSpec,
        uploads: &[Upload],
        idempotency: Option<Idempotency>,
    ) -> Result<Submission, SubmitError> {
        let id = Uuid::now_v7();
        spec.input = uploads.iter().map(InputFile::of).collect();
        for (number, upload) in uploads.iter().enumerate() {
            if let Err(error) = self.put_model(&spec, JobObject::Model(id, number), upload).await {
                // The last one may be there, although it failed.
                self.remove_objects(Removed { id, files: number + 1, tokens: Vec::new() }).await;
                return Err(error);
            }
        }
        self.record(NewJob { id, spec, idempotency }).await
    }

    /// Submits a job like `job`, with a copy of its model. `None`: the model is gone.
    pub async fn retry(
        &self,
        job: &Job,
        request_id: &str,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<Submission>, SubmitError> {
        let id = Uuid::now_v7();
        for (number, file) in job.spec.input.iter().enumerate() {
            let copied = self.copy_model(job.id, id, number, file).await;
            if !matches!(copied, Ok(true)) {
                self.remove_objects(Removed { id, files: number, tokens: Vec::new() }).await;
                return copied.map(|_| None).map_err(SubmitError::from);
            }
        }
        let spec = JobSpec {
            request_id: request_id.to_owned(),
            trace_parent: otlp::trace_parent(),
            retry_of: Some(job.id),
            ..job.spec.clone()
        };
        self.record(NewJob { id, spec, idempotency }).await.map(Some)
    }

    /// Opens the result of a job that has succeeded, and checks it. `None`: the store does not have it any more.
    pub async fn open_result(&self, job: &Job) -> Result<Option<Blob>, storage::Error> {
        let Some(result) = &job.result else { return Ok(None) };
        let object = JobObject::Result(job.id, result.token);
        self.storage.fetch_job_object(object, &result.info.hash, result.info.bytes, &self.spool).await
    }

    /// Whether the store may have the result of a job. Only a folder is asked, which costs nothing.
    pub async fn may_have_result(&self, job: &Job) -> bool {
        let Some(result) = &job.result else { return false };
        self.storage.may_have_job_object(JobObject::Result(job.id, result.token)).await
    }

    /// Reads a small part of the result of a job from a bucket, without checking it. `None`: [`Jobs::open_result`] costs
    /// little more, or finds out what is wrong.
    pub async fn read_result_part(
        &self,
        job: &Job,
        part: Range<u64>,
    ) -> Result<Option<Bytes>, storage::Error> {
        let Some(result) = &job.result else { return Ok(None) };
        let object = JobObject::Result(job.id, result.token);
        self.storage.read_job_object_part(object, part, result.info.bytes).await
    }

    /// Returns a URL at which a client can fetch the result of a job from the bucket, if the operator allows that and the
    /// result is kept long enough.
    pub async fn result_url(&self, job: &Job) -> Option<Url> {
        let result = job.result.as_ref()?;
        let left = job.expires_at.since(Timestamp::now());
        if left < SHORTEST_URL_LIFETIME {
            return None;
        }
        let (disposition, media_type) = (result.info.content_disposition(), result.info.media_type());
        let object = JobObject::Result(job.id, result.token);
        let valid_for = left.min(URL_LIFETIME);
        let url = self.storage.presigned_job_object(object, &disposition, media_type, valid_for);
        url.await.ok().flatten()
    }

    /// Returns the report of a job that has succeeded. `None`: the store does not have it any more.
    pub async fn report(&self, job: &Job) -> Result<Option<Report>, storage::Error> {
        let Some(result) = &job.result else { return Ok(None) };
        let json = self.storage.read_job_object(JobObject::Report(job.id, result.token)).await?;
        Ok(json.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    /// Waits until a job has a later version than `version`, for `within` at most; returns it as it is then. `None`:
    /// there is no such job.
    pub async fn changed(&self, id: Uuid, version: u64, within: Duration) -> Result<Option<Job>, QueueError> {
        let deadline = Instant::now() + within;
        // Before the first look, so that no change between the two is missed.
        let mut hints = self.queue.hints();
        loop {
            let job = self.queue.job(id).await?;
            let now = Instant::now();
            if job.as_ref().is_none_or(|job| job.version > version) || now >= deadline {
                return Ok(job);
            }
            let until = deadline.min(now + ASK_EVERY);
            let _ = timeout_at(until, hinted(&mut hints, |hint| hint == Hint::Changed(id))).await;
        }
    }

    /// Opens a file of a job's model, and checks it. `None`: the store does not have it any more.
    pub(super) async fn open_model(
        &self,
        id: Uuid,
        number: usize,
        file: &InputFile,
    ) -> Result<Option<Blob>, storage::Error> {
        let object = JobObject::Model(id, number);
        self.storage.fetch_job_object(object, &file.hash, file.bytes, &self.spool).await
    }

    /// Stores the result and the report of an attempt.
    pub(super) async fn put_result(
        &self,
        job: &Job,
        token: u64,
        content: Blob,
        report: Option<&Report>,
    ) -> Result<(), storage::Error> {
        let json = report.and_then(|report| serde_json::to_vec(report).ok());
        let report = async {
            let Some(json) = json else { return Ok(()) };
            self.put(&job.spec, JobObject::Report(job.id, token), Blob::Memory(json.into())).await
        };
        let result = self.put(&job.spec, JobObject::Result(job.id, token), content);
        // At the same time, since a request may wait for them.
        tokio::try_join!(report, result).map(|((), ())| ())
    }

    /// Removes the result and the report of an attempt that does not count.
    pub(super) async fn remove_result(&self, id: Uuid, token: u64) {
        // If an answer of the queue got lost, the record may refer to this very result.
        let Ok(job) = self.queue.job(id).await else { return };
        if job.and_then(|job| job.result).is_some_and(|result| result.token == token) {
            return;
        }
        for object in [JobObject::Result(id, token), JobObject::Report(id, token)] {
            // What is left is removed with the job.
            let _ = self.storage.remove_job_object(object).await;
        }
    }

    /// Removes what nobody reads any more once an attempt has succeeded: the model, or, if the job was cancelled in the last
    /// moment, the result.
    pub(super) async fn remove_unneeded(&self, job: &Job, token: u64) {
        let Ok(Some(ended)) = self.queue.job(job.id).await else { return };
        if ended.state != State::Succeeded {
            return self.remove_result(job.id, token).await;
        }
        for number in 0..job.spec.input.len() {
            // What is left is removed with the job.
            let _ = self.storage.remove_job_object(JobObject::Model(job.id, number)).await;
        }
    }

    /// Removes a job and all that is stored for it; a worker that runs it cancels it. Returns whether it was there.
    pub async fn remove(&self, id: Uuid) -> Result<bool, QueueError> {
        let Some(removed) = self.queue.remove(id).await? else { return Ok(false) };
        self.remove_objects(removed).await;
        Ok(true)
    }

    /// Removes the objects of a job without a record. What cannot be removed now is found later, by its age.
    pub(super) async fn remove_objects(&self, removed: Removed) {
        let Removed { id, files, tokens } = removed;
        let models = (0..files).map(move |number| JobObject::Model(id, number));
        let results = tokens
            .into_iter()
            .flat_map(move |token| [JobObject::Result(id, token), JobObject::Report(id, token)]);
        stream::iter(models.chain(results))
            .for_each_concurrent(REMOVED_AT_ONCE, |object| async move {
                let _ = self.storage.remove_job_object(object).await;
            })
            .await;
    }

    /// Sweeps the queue. Returns the records that were removed; the caller removes their objects.
    pub(super) async fn sweep(&self) -> Result<Vec<Removed>, QueueError> {
        let Swept { requeued, dead, cancelled, expired, removed } = self.queue.sweep().await?;
        for job in requeued {
            tracing::warn!(%job, "a worker was lost; its job is queued again");
        }
        self.dead.fetch_add(dead.len() as u64, Ordering::Relaxed);
        for job in dead {
            tracing::error!(%job, "a job failed, because the worker of each of its attempts was lost");
        }
        for job in cancelled {
            tracing::info!(%job, "a cancelled job ended, because its worker was lost");
        }
        for job in expired {
            tracing::warn!(%job, "a job expired before a worker took it");
        }
        Ok(removed)
    }

    /// Jobs that this process has ended because the workers of all their attempts were lost.
    pub fn dead(&self) -> u64 {
        self.dead.load(Ordering::Relaxed)
    }

    /// Removes the models of jobs whose submission had no answer, and that turn out not to be recorded. A client repeats
    /// such a request, so that they would fill the store while the queue is away. Must not run twice at a time.
    pub(super) async fn remove_unrecorded(&self) -> Result<(), QueueError> {
        while let Some(unanswered) = self.oldest_unanswered() {
            match self.queue.job(unanswered.id).await {
                // Its request got an error, so nobody waits for it.
                Ok(Some(job)) if job.spec.is_of_request() => _ = self.remove(job.id).await?,
                Ok(Some(_)) => {}
                Ok(None) => self.remove_objects(unanswered).await,
                Err(error) => {
                    // While the queue is away, its answer would tell nothing.
                    if let Some((since, _)) = lock(&self.unanswered).front_mut() {
                        *since = Instant::now();
                    }
                    return Err(error);
                }
            }
            lock(&self.unanswered).pop_front();
        }
        Ok(())
    }

    /// The oldest submission without an answer, once it is old enough.
    fn oldest_unanswered(&self) -> Option<Removed> {
        let unanswered = lock(&self.unanswered);
        let (since, removed) = unanswered.front()?;
        (since.elapsed() >= ANSWERED_WITHIN).then(|| removed.clone())
    }

    /// Counts the jobs for [`Jobs::stats`], and tells the store whether there are any: while there are none, it may begin
    /// anew. A process counts once before it accepts or runs jobs.
    pub async fn count(&self) -> Result<(), QueueError> {
        let stats = self.queue.stats().await?;
        let is_new = stats.jobs.iter().all(|number| *number == 0);
        *lock(&self.counted) = Counted { stats, at: Some(Instant::now()) };
        if let Err(error) = self.storage.open_job_objects(is_new).await {
            tracing::debug!(%error, "the objects of jobs are away");
        }
        Ok(())
    }

    /// Removes objects of jobs that have no record: a process died between storing the model and recording the job, or
    /// between removing the record and the objects. The queue says which jobs it does not know, whatever their age.
    /// Other queues may use the same store, so only objects that are older than jobs get are removed.
    ///
    /// # Errors
    /// A sentence, when the store or the queue does not work.
    pub async fn remove_abandoned_objects(&self, now: SystemTime) -> Result<usize, String> {
        let old =
            self.storage.old_job_objects(now, self.longest_life).await.map_err(|error| error.to_string())?;
        let mut ids: Vec<Uuid> = old.iter().filter_map(OldJobObject::job).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut unknown = HashSet::new();
        for ids in ids.chunks(ASKED_AT_ONCE) {
            unknown.extend(self.queue.unknown(ids).await.map_err(|error| error.to_string())?);
        }
        let abandoned: Vec<_> =
            old.into_iter().filter(|object| object.job().is_none_or(|job| unknown.contains(&job))).collect();
        if abandoned.is_empty() {
            return Ok(0);
        }
        self.storage.remove_old_job_objects(abandoned).await.map_err(|error| error.to_string())
    }

    /// The numbers of jobs when they were last counted.
    pub fn stats(&self) -> Stats {
        lock(&self.counted).stats.clone()
    }

    async fn put_model(&self, spec: &JobSpec, object: JobObject, upload: &Upload) -> Result<(), SubmitError> {
        let content = upload.blob().await?;
        Ok(self.put(spec, object, content).await?)
    }

    /// Stores an object of this job: durable, unless it is of use only while a request waits.
    async fn put(&self, spec: &JobSpec, object: JobObject, content: Blob) -> Result<(), storage::Error> {
        if spec.is_of_request() {
            return self.storage.put_brief_job_object(object, content).await;
        }
        self.storage.put_job_object(object, content).await
    }

    async fn record(&self, new: NewJob) -> Result<Submission, SubmitError> {
        let unused = Removed { id: new.id, files: new.spec.input.len(), tokens: Vec::new() };
        let submission = self.queue.submit(new).await;
        match &submission {
            Ok(Submission::New(_)) => {}
            Ok(Submission::Replayed(_) | Submission::Refused(_)) => self.remove_objects(unused).await,
            Err(_) => lock(&self.unanswered).push_back((Instant::now(), unused)),
        }
        Ok(submission?)
    }

    /// Copies a file of the model of one job to another; `false`: it is gone.
    async fn copy_model(
        &self,
        from: Uuid,
        to: Uuid,
        number: usize,
        file: &InputFile,
    ) -> Result<bool, storage::Error> {
        let Some(content) = self.open_model(from, number, file).await? else { return Ok(false) };
        self.storage.put_job_object(JobObject::Model(to, number), content).await?;
        Ok(true)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here can panic half-way.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
