//! One attempt of a job: fetches the model, converts it, stores the result, and tells the queue how it ended.
//!
//! Beside it, the lease is renewed. When it is lost, or the client cancels the job, the conversion is dropped, which kills
//! its child.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::hints::hinted;
use super::job::{GiveBack, InputFile, JobResult, Progress};
use super::queue::{Claim, End, Hint, Hold, LEASE};
use super::service::Jobs;
use crate::config::CacheScope;
use crate::conversion::{self, Accepts, Content, Converted, Input, Service, Upload, UploadContent, blocking};
use crate::domain::{Client, ConversionError, ErrorCode};
use crate::executor::workdir::ConversionFolder;
use crate::fs::blob::Blob;
use crate::metrics::Metrics;
use crate::storage;

/// How often a lease is renewed, and the least time between two renewals that report progress.
const RENEW_EVERY: Duration = Duration::from_secs(1);
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// Pause before the queue is told again how a job ended, if it did not answer.
const REPORT_AGAIN: Duration = Duration::from_secs(1);

/// The parts of the program that run a job, and their settings.
pub struct WorkerParts {
    pub jobs: Jobs,
    pub service: Service,
    pub metrics: Arc<Metrics>,
    /// Whether results belong to API keys.
    pub cache_scope: CacheScope,
    /// Time limit of one conversion.
    pub timeout: Duration,
}

pub struct Attempt<'a> {
    parts: &'a WorkerParts,
    claim: &'a Claim,
    progress: Arc<Latest>,
}

/// The latest progress.
#[derive(Default)]
struct Latest {
    progress: Mutex<Option<Progress>>,
    changed: Notify,
}

/// This worker cannot run jobs at the moment.
#[derive(Debug)]
pub struct ShouldPause;

/// How an attempt ended.
enum AttemptOutcome {
    End(End),
    GiveBack(GiveBack),
    /// Another worker has the job, or nobody wants it any more.
    Lost,
}

/// Why the lease is not renewed any more.
enum Interrupted {
    Cancelled,
    Lost,
}

impl<'a> Attempt<'a> {
    pub fn new(parts: &'a WorkerParts, claim: &'a Claim) -> Self {
        Self { parts, claim, progress: Arc::default() }
    }

    /// Runs the job and tells the queue how it ended.
    ///
    /// # Errors
    /// When this worker should pause before its next job.
    pub async fn run(&self) -> Result<(), ShouldPause> {
        let job = &self.claim.job;
        tracing::info!(target_format = %job.spec.target, "an attempt begins");
        if let (1, Some(started)) = (self.claim.token, job.started_at) {
            self.parts.metrics.job_waited(started.since(job.created_at));
        }
        let began = Instant::now();
        let ended = tokio::select! {
            // A result that is there in time counts, even if the lease is lost at the same moment.
            biased;
            ended = self.convert() => ended,
            interrupted = self.keep_lease() => match interrupted {
                Interrupted::Cancelled => AttemptOutcome::End(End::Cancelled),
                Interrupted::Lost => AttemptOutcome::Lost,
            },
        };
        let result = match &ended {
            AttemptOutcome::GiveBack(GiveBack::EngineUnavailable | GiveBack::StoreUnavailable) => {
                Err(ShouldPause)
            }
            _ => Ok(()),
        };
        let word = match &ended {
            AttemptOutcome::End(End::Succeeded(_)) => "succeeded",
            AttemptOutcome::End(End::Failed(_)) => "failed",
            AttemptOutcome::End(End::Cancelled) => "cancelled",
            AttemptOutcome::GiveBack(reason) => reason.word(),
            AttemptOutcome::Lost => "lost",
        };
        let kept = self.report_end(ended).await;
        let word = if kept { word } else { "lost" };
        self.parts.metrics.job_attempt(word);
        if !kept {
            // Another attempt has the job; nobody refers to the objects of this one.
            self.parts.jobs.remove_result(job.id, self.claim.token).await;
        }
        tracing::info!(outcome = word, ms = began.elapsed().as_millis(), "an attempt ended");
        result
    }

    async fn convert(&self) -> AttemptOutcome {
        match self.converted().await {
            Ok(result) => AttemptOutcome::End(End::Succeeded(result)),
            Err(Failure::Conversion(error)) => match error.code {
                ErrorCode::ShuttingDown => AttemptOutcome::GiveBack(GiveBack::Stopping),
                ErrorCode::EngineUnavailable => AttemptOutcome::GiveBack(GiveBack::EngineUnavailable),
                ErrorCode::DiskFull => AttemptOutcome::GiveBack(GiveBack::DiskFull),
                _ => AttemptOutcome::End(End::Failed(error)),
            },
            Err(Failure::Store(error)) => {
                tracing::warn!(%error, "the store failed a job; it is queued again");
                AttemptOutcome::GiveBack(GiveBack::StoreUnavailable)
            }
        }
    }

    async fn converted(&self) -> Result<JobResult, Failure> {
        let WorkerParts { jobs, service, cache_scope, timeout, .. } = self.parts;
        let spec = &self.claim.job.spec;
        let folder = service.converter().work().new_folder();
        let mut uploads = Vec::with_capacity(spec.input.len());
        for (number, file) in spec.input.iter().enumerate() {
            let found = jobs.open_model(self.claim.job.id, number, file).await?;
            let blob = found.ok_or_else(model_gone)?;
            uploads.push(upload(&folder, number, file, blob).await?);
        }
        let owner = match &spec.client {
            Client::Key(name) if *cache_scope == CacheScope::Key => Some(Arc::clone(name)),
            _ => None,
        };
        let request = conversion::Request {
            input: Input::Uploads(uploads),
            main: spec.main.clone(),
            target: spec.target,
            options: spec.options.clone(),
            timeout: *timeout,
            folder,
            client: spec.client.clone(),
            is_job: true,
            owner,
            requested_at: Instant::now(),
            bypass_cache: spec.bypass_cache,
            accepts: Accepts { report: true, ..Accepts::default() },
        };
        let progress = Arc::clone(&self.progress);
        let on_stage = move |stage, fraction| {
            *progress.progress.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Progress { stage, fraction });
            progress.changed.notify_one();
        };
        let converted = service.convert(request, on_stage).await.result?;
        self.store(converted).await
    }

    /// Stores result and report under the token of this attempt.
    async fn store(&self, converted: Converted) -> Result<JobResult, Failure> {
        let Converted { info, content, report } = converted;
        let (blob, report) = match content {
            Content::Made(artifact) => {
                (artifact.content().await?, Some(Arc::new(artifact.conversion.report.clone())))
            }
            Content::Stored(blob) => (blob, report),
            // Only asked for by requests.
            Content::Elsewhere(_) | Content::Unchanged => return Err(model_gone().into()),
        };
        let (id, token, jobs) = (self.claim.job.id, self.claim.token, &self.parts.jobs);
        jobs.put_result(id, token, blob, report.as_deref()).await?;
        Ok(JobResult { info, token })
    }

    /// Renews the lease until it is lost or the job is cancelled.
    async fn keep_lease(&self) -> Interrupted {
        let (queue, id) = (self.parts.jobs.queue(), self.claim.job.id);
        let mut hints = queue.hints();
        let (mut renewed, mut reported) = (Instant::now(), None);
        loop {
            tokio::select! {
                () = sleep(RENEW_EVERY) => {}
                () = hinted(&mut hints, |hint| hint == Hint::Changed(id)) => {}
                () = self.progress.changed.notified() => sleep(REPORT_EVERY).await,
            }
            let progress = *self.progress.progress.lock().unwrap_or_else(PoisonError::into_inner);
            let asked = Instant::now();
            match queue.renew(id, self.claim.token, progress.filter(|_| progress != reported)).await {
                Ok(Hold::Held) => (renewed, reported) = (asked, progress),
                Ok(Hold::Cancelled) => return Interrupted::Cancelled,
                Ok(Hold::Lost) => return Interrupted::Lost,
                // By now another worker may have it.
                Err(_) if renewed.elapsed() >= LEASE => return Interrupted::Lost,
                Err(error) => tracing::warn!(%error, "a lease could not be renewed"),
            }
        }
    }

    /// Tells the queue how the attempt ended, until it answers or the lease is surely lost; returns whether it counts.
    async fn report_end(&self, ended: AttemptOutcome) -> bool {
        let (queue, id, token) = (self.parts.jobs.queue(), self.claim.job.id, self.claim.token);
        let began = Instant::now();
        loop {
            let told = match &ended {
                AttemptOutcome::End(end) => queue.finish(id, token, end.clone()).await,
                AttemptOutcome::GiveBack(reason) => queue.give_back(id, token, *reason).await,
                AttemptOutcome::Lost => return false,
            };
            match told {
                Ok(kept) => return kept,
                Err(_) if began.elapsed() >= LEASE => return true,
                Err(error) => tracing::warn!(%error, "the queue did not take the end of a job"),
            }
            // The lease goes on: whoever else sees it end runs the job again, which costs time, and nothing else.
            let _ = queue.renew(id, token, None).await;
            sleep(REPORT_AGAIN).await;
        }
    }
}

enum Failure {
    Conversion(ConversionError),
    Store(storage::Error),
}

impl From<ConversionError> for Failure {
    fn from(error: ConversionError) -> Self {
        Failure::Conversion(error)
    }
}

impl From<storage::Error> for Failure {
    fn from(error: storage::Error) -> Self {
        Failure::Store(error)
    }
}

fn model_gone() -> ConversionError {
    ConversionError::new(ErrorCode::Io, "the model of this job is no longer in the store")
}

/// Puts a file of the model into the conversion's folder. It is a copy, so that a child cannot change what is stored.
async fn upload(
    folder: &ConversionFolder,
    number: usize,
    file: &InputFile,
    blob: Blob,
) -> Result<Upload, ConversionError> {
    let content = match blob {
        Blob::Memory(bytes) if number == 0 => UploadContent::Memory { bytes: bytes.to_vec(), permit: None },
        blob => {
            let folder = folder.clone();
            let copy = move || -> io::Result<_> {
                let (path, mut copy) = folder.upload(number)?;
                match blob {
                    Blob::Memory(bytes) => fs::write(&path, bytes)?,
                    Blob::File(mut file, _) => drop(io::copy(&mut file, &mut copy)?),
                }
                Ok(UploadContent::File(path))
            };
            blocking(move |_| copy().map_err(|error| ConversionError::io("copy the model", &error))).await?
        }
    };
    Ok(Upload { name: file.name.clone(), bytes: file.bytes, hash: file.hash, content })
}
