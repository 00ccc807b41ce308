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

use super::job::{GiveBack, InputFile, JobResult, Progress};
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
}

pub struct Attempt<'a> {
    parts: &'a WorkerParts,
    claim: &'a Claim,
}

/// This worker cannot run jobs at the moment.
#[derive(Debug)]
pub struct ShouldPause;

impl<'a> Attempt<'a> {
    pub fn new(parts: &'a WorkerParts, claim: &'a Claim) -> Self {
        Self { parts, claim }
    }

    /// Runs the job and tells the queue how it ended.
    ///
    /// # Errors
    /// When this worker should pause before its next job.
    pub async fn run(&self) -> Result<(), ShouldPause> {
        let WorkerParts { jobs, service, metrics, .. } = self.parts;
        let Claim { job, token } = self.claim;
        tracing::info!(target_format = %job.spec.target, "an attempt begins");
        // A job is queued as its first version; the second one is that of its first take.
        if let (2, Some(started)) = (job.version, job.started_at) {
            metrics.job_waited(started.since(job.created_at));
        }
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
            Some(Ending::GiveBack(reason)) if reason.is_paused() => Err(ShouldPause),
            _ => Ok(()),
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
        self.claim.job.memory_factor < MORE_MEMORY && self.has_memory_for(MORE_MEMORY)
    }

    fn has_memory_for(&self, factor: u32) -> bool {
        self.parts.service.converter().executor().has_memory_for(factor)
    }

    /// The purpose of the conversion, with more memory if the job needs it and this machine has it.
    fn purpose(&self) -> Purpose {
        let wanted = self.claim.job.memory_factor;
        let memory_factor = if wanted <= 1 || self.has_memory_for(wanted) { wanted } else { 1 };
        Purpose::Job { memory_factor }
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
        let (id, token, jobs) = (self.claim.job.id, self.claim.token, &self.parts.jobs);
        let put = async { jobs.put_result(id, token, blob, report.as_deref()).await.map_err(Failure::Store) };
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
