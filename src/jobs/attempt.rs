//! One attempt of a job: fetches the model, converts it, stores the result, and tells the queue how it ended.
//!
//! ```text
//!   fetch ─▶ convert ─▶ store ─▶ end: finish, or give back ─▶ remove what nobody needs
//!  └────────────┬─────────────┘
//!   dropped when the client cancels the job, the lease is lost, or the process stops
//! ```
//!
//! Dropping a conversion kills its child.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::Span;

use super::job::{GiveBack, InputFile, JobResult, Progress, State};
use super::kubernetes::HeavyPolicy;
use super::lease::{Ending, Interrupted, Lease, Told};
use super::queue::{Claim, End};
use super::service::Jobs;
use crate::config::CacheScope;
use crate::conversion::{self, Accepts, Content, Converted, Input, Service, Upload, UploadContent, blocking};
use crate::domain::{ConversionError, ErrorCode, Purpose};
use crate::executor::workdir::ConversionFolder;
use crate::fs::blob::Blob;
use crate::metrics::Metrics;
use crate::storage;
use crate::telemetry::{self, otlp};

/// How long a result may still take to be stored once the process stops.
const STORED_WITHIN: Duration = Duration::from_secs(1);

/// The memory limit of the attempt after one that ran out of memory, as a multiple of that of the first one.
const MORE_MEMORY: u32 = 2;

/// The parts of the program that run a job, and their settings.
pub struct WorkerParts {
    pub jobs: Jobs,
    pub service: Service,
    pub metrics: Arc<Metrics>,
    /// Whether results belong to API keys.
    pub cache_scope: CacheScope,
    /// Time limit of one conversion, without the time that it waits for a slot; also of fetching the model, and of
    /// storing the result.
    pub timeout: Duration,
    pub runs_in: RunsIn,
}

/// Where attempts run, which decides how much memory the next one may have.
pub enum RunsIn {
    /// In a worker, with the rule by which jobs leave it for a pod, if there is one.
    Worker(Option<HeavyPolicy>),
    /// In a pod that was made for this attempt, with the memory that it may use.
    Pod,
}

pub struct Attempt<'a> {
    parts: &'a WorkerParts,
    claim: &'a Claim,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The job has ended, with this state as far as the attempt knows.
    Ended(State),
    GivenBack(GiveBack),
    /// The lease was lost; another attempt may have the job.
    Lost,
}

/// Makes the span of an attempt, as a part of the trace of the request that submitted the job.
pub fn span(claim: &Claim) -> Span {
    let Claim { job, .. } = claim;
    let span = telemetry::span!("job", job = %job.id, id = &job.spec.request_id, attempt = job.attempts);
    if let Some(parent) = &job.spec.trace_parent {
        otlp::continue_trace(&span, parent);
    }
    span
}

impl<'a> Attempt<'a> {
    pub fn new(parts: &'a WorkerParts, claim: &'a Claim) -> Self {
        Self { parts, claim }
    }

    /// Runs the job and tells the queue how it ended.
    pub async fn run(&self) -> AttemptEnd {
        let WorkerParts { jobs, service, metrics, .. } = self.parts;
        let Claim { job, token } = self.claim;
        tracing::info!(target_format = %job.spec.target, "an attempt begins");
        let began = Instant::now();
        // Before the work, so that no wish to cancel it is missed.
        let mut lease = Lease::new(&**jobs.queue(), self.claim);
        let (progress, reported) = watch::channel(None);
        let ending = tokio::select! {
            // A result that is there in time counts, even if the lease is lost at the same moment.
            biased;
            ending = self.work(progress) => Some(ending),
            interrupted = lease.keep(reported) => match interrupted {
                Interrupted::Cancelled => Some(Ending::End(End::Cancelled)),
                Interrupted::Lost => None,
            },
        };
        let told = match &ending {
            Some(ending) => lease.end(ending, service.cancelling()).await,
            None => Told::Refused,
        };
        let outcome = ending.as_ref().filter(|_| told == Told::Accepted).map_or("lost", Ending::word);
        metrics.job_attempt(outcome);
        tracing::info!(outcome, ms = began.elapsed().as_millis(), "an attempt ended");
        match (&ending, told) {
            (Some(Ending::End(End::Succeeded(_))), Told::Accepted) => jobs.remove_unneeded(job, *token).await,
            // Another attempt has the job; nobody refers to the objects of this one.
            (_, Told::Refused) => jobs.remove_result(job.id, *token).await,
            _ => {}
        }
        match ending {
            Some(Ending::GiveBack(reason)) if told != Told::Refused => AttemptEnd::GivenBack(reason),
            Some(Ending::End(end)) if told != Told::Refused => AttemptEnd::Ended(end.state()),
            _ => AttemptEnd::Lost,
        }
    }

    /// Works on the job until it ends, or until the process stops.
    async fn work(&self, progress: watch::Sender<Option<Progress>>) -> Ending {
        let converted = tokio::select! {
            biased;
            converted = self.convert(progress) => converted,
            () = self.stopped(Duration::ZERO) => return Ending::GiveBack(GiveBack::Stopping),
        };
        let converted = match converted {
            Ok(converted) => converted,
            Err(failure) => return self.ending_of(failure),
        };
        let stored = tokio::select! {
            biased;
            stored = self.store(converted) => stored,
            () = self.stopped(STORED_WITHIN) => return Ending::GiveBack(GiveBack::Stopping),
        };
        match stored {
            Ok(result) => Ending::End(End::Succeeded(result)),
            Err(failure) => self.ending_of(failure),
        }
    }

    /// Waits until the process cancels its conversions, and then for this long.
    async fn stopped(&self, patience: Duration) {
        self.parts.service.cancelling().cancelled().await;
        sleep(patience).await;
    }

    fn ending_of(&self, failure: Failure) -> Ending {
        let error = match failure {
            Failure::Conversion(error) => error,
            Failure::Store(error) => {
                tracing::warn!(%error, "the store failed a job; it is queued again");
                return Ending::GiveBack(GiveBack::StoreUnavailable);
            }
        };
        match error.code {
            _ if error.is_engine_lost => Ending::GiveBack(GiveBack::EngineLost),
            ErrorCode::ShuttingDown => Ending::GiveBack(GiveBack::Stopping),
            ErrorCode::EngineUnavailable => Ending::GiveBack(GiveBack::EngineUnavailable),
            ErrorCode::DiskFull => Ending::GiveBack(GiveBack::DiskFull),
            ErrorCode::MemoryLimit if self.may_get_more_memory() => Ending::GiveBack(GiveBack::OutOfMemory),
            _ => Ending::End(End::Failed(error)),
        }
    }

    /// Whether another attempt may use more memory than this one.
    fn may_get_more_memory(&self) -> bool {
        let job = &self.claim.job;
        let gets_more = || match &self.parts.runs_in {
            RunsIn::Pod => true,
            RunsIn::Worker(policy) => {
                let is_heavy = policy.as_ref().is_some_and(|policy| policy.is_heavy_with(job, MORE_MEMORY));
                is_heavy || self.has_memory_for(MORE_MEMORY)
            }
        };
        job.memory_factor < MORE_MEMORY && gets_more()
    }

    fn has_memory_for(&self, factor: u32) -> bool {
        self.parts.service.converter().executor().has_memory_for(factor)
    }

    /// The purpose of the conversion, with more memory if the job needs it and this machine has it. The limit in a pod is
    /// that of this attempt.
    fn purpose(&self) -> Purpose {
        let wanted = self.claim.job.memory_factor;
        let has_more = matches!(self.parts.runs_in, RunsIn::Worker(_)) && self.has_memory_for(wanted);
        Purpose::Job { memory_factor: if wanted > 1 && has_more { wanted } else { 1 } }
    }

    /// Fetches the model and converts it.
    async fn convert(&self, progress: watch::Sender<Option<Progress>>) -> Result<Converted, Failure> {
        let WorkerParts { service, cache_scope, timeout, .. } = self.parts;
        let spec = &self.claim.job.spec;
        let folder = service.converter().work().new_folder();
        let uploads = self.in_time(self.fetch(&folder)).await?;
        let request = conversion::Request {
            input: Input::Uploads(uploads),
            main: spec.main.clone(),
            target: spec.target,
            options: spec.options.clone(),
            timeout: *timeout,
            folder,
            client: spec.client.clone(),
            purpose: self.purpose(),
            owner: conversion::owner(&spec.client, *cache_scope),
            requested_at: Instant::now(),
            bypass_cache: spec.bypass_cache,
            accepts: Accepts { report: true, ..Accepts::default() },
        };
        let on_stage = move |stage, fraction| {
            progress.send_replace(Some(Progress { stage, fraction }));
        };
        Ok(service.convert(request, on_stage).await.result?)
    }

    /// Fetches the files of the model into the conversion's folder.
    async fn fetch(&self, folder: &ConversionFolder) -> Result<Vec<Upload>, Failure> {
        let input = &self.claim.job.spec.input;
        let mut uploads = Vec::with_capacity(input.len());
        for (number, file) in input.iter().enumerate() {
            let found = self.parts.jobs.open_model(self.claim.job.id, number, file).await?;
            let blob = found.ok_or_else(model_gone)?;
            uploads.push(upload(folder, number, file, blob).await?);
        }
        Ok(uploads)
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
        let (job, token, jobs) = (&self.claim.job, self.claim.token, &self.parts.jobs);
        let put =
            async { jobs.put_result(job, token, blob, report.as_deref()).await.map_err(Failure::Store) };
        self.in_time(put).await?;
        Ok(JobResult { info, token })
    }

    /// Limits work with the store, which may hang without an error. What a thread has begun goes on, but nobody waits
    /// for it.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let limit = self.parts.timeout;
        let late = |_| Failure::Store(storage::Error::late("the store", limit.as_secs().max(1)));
        timeout(limit, work).await.map_err(late)?
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
                let (path, _) = folder.upload(number)?;
                blob.copy_to(&path)?;
                Ok(UploadContent::File(path))
            };
            blocking(move |_| copy().map_err(|error| ConversionError::io("copy the model", &error))).await?
        }
    };
    Ok(Upload { name: file.name.clone(), bytes: file.bytes, hash: file.hash, content })
}
