//! Objects of jobs: durable once they are stored, and removed only with the job's record.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use blake3::Hash;
use bytes::Bytes;
use url::Url;
use uuid::Uuid;

use super::backend::{Fetched, SMALL};
use super::error::Error;
use super::keys::{JOBS, JobObject, Key, Name, Object, age};
use super::operation::{Operation, Outcome};
use super::store::Storage;
use super::sweep::ABANDONED_AFTER;
use crate::fs::blob::Blob;

impl Storage {
    /// Finds the place of objects of jobs in the store, unless this process has found it before. `is_new`: there are no
    /// jobs, so that an absent folder is made; otherwise it counts as away.
    pub async fn open_job_objects(&self, is_new: bool) -> Result<(), Error> {
        self.0.backend.open_jobs(is_new).await
    }

    /// Stores an object of a job, if the place of these objects was found and is still there. It outlives a power failure
    /// once this returns. Nobody may write to its file any more.
    pub async fn put_job_object(&self, object: JobObject, content: Blob) -> Result<(), Error> {
        self.put_as(object, content, true).await
    }

    /// Stores an object of a job like [`Storage::put_job_object`], but sooner: a power failure may lose or damage it.
    pub async fn put_brief_job_object(&self, object: JobObject, content: Blob) -> Result<(), Error> {
        self.put_as(object, content, false).await
    }

    async fn put_as(&self, object: JobObject, content: Blob, is_durable: bool) -> Result<(), Error> {
        let work = async {
            self.0.backend.put_job(Key::Job(object).path(), content, is_durable).await?;
            Ok((Outcome::Done, ()))
        };
        self.tracked(Operation::PutBlob, work).await
    }

    /// Returns an object of a job, checked against its hash and length; `spool` as in [`Storage::fetch`]. `None`: it is
    /// absent or damaged. If the place of these objects is absent, or is not the same any more, that is an error.
    pub async fn fetch_job_object(
        &self,
        object: JobObject,
        hash: &Hash,
        length: u64,
        spool: &Path,
    ) -> Result<Option<Blob>, Error> {
        let work = async {
            match self.0.backend.fetch_blob(Key::Job(object).path(), *hash, length, spool).await? {
                Fetched::Intact(content) => Ok((Outcome::Done, Some(content))),
                Fetched::Absent => {
                    self.0.backend.check_jobs().await?;
                    Ok((Outcome::Absent, None))
                }
                Fetched::Damaged => {
                    tracing::error!(job = %object.job(), "a stored object of a job is damaged");
                    Ok((Outcome::Corrupt, None))
                }
            }
        };
        self.tracked(Operation::FetchBlob, work).await
    }

    /// Whether an object of a job may be there. Looks for its file; a bucket is not asked.
    pub async fn may_have_job_object(&self, object: JobObject) -> bool {
        let Some(folder) = self.0.backend.folder() else { return true };
        // If nobody can tell, fetching it finds out.
        tokio::fs::try_exists(folder.join(Key::Job(object).path())).await.unwrap_or(true)
    }

    /// Whether fetching an object of this many bytes takes as much space in the folder `spool`, until it is dropped.
    pub fn needs_spool(&self, bytes: u64) -> bool {
        self.0.backend.folder().is_none() && bytes > SMALL
    }

    /// Returns a part of an object of a job, whose length is `length`, without checking it against its hash. `None`:
    /// fetching all of it costs little or is needed to check it, or it is absent.
    pub async fn read_job_object_part(
        &self,
        object: JobObject,
        part: Range<u64>,
        length: u64,
    ) -> Result<Option<Bytes>, Error> {
        if !self.needs_spool(length) || part.end - part.start > SMALL {
            return Ok(None);
        }
        let work = async {
            let found = self.0.backend.get_part(Key::Job(object).path(), part, length).await?;
            Ok((Outcome::found(found.is_some()), found))
        };
        self.tracked(Operation::Get, work).await
    }

    /// Returns a URL as [`Storage::presigned`] does. The caller vouches that the object is kept for `valid_for`.
    pub async fn presigned_job_object(
        &self,
        object: JobObject,
        disposition: &str,
        media_type: &str,
        valid_for: Duration,
    ) -> Result<Option<Url>, Error> {
        self.presign(Key::Job(object), disposition, media_type, valid_for, None).await
    }

    /// Reads a small object of a job; `None` and errors as in [`Storage::fetch_job_object`].
    pub async fn read_job_object(&self, object: JobObject) -> Result<Option<Bytes>, Error> {
        let work = async {
            let found = self.0.backend.get(Key::Job(object).path()).await?;
            if found.is_none() {
                self.0.backend.check_jobs().await?;
            }
            Ok((Outcome::found(found.is_some()), found.map(|document| document.content)))
        };
        self.tracked(Operation::Get, work).await
    }

    /// Removes an object of a job, if it is there.
    pub async fn remove_job_object(&self, object: JobObject) -> Result<(), Error> {
        let work = async {
            self.0.backend.remove(Key::Job(object).path()).await?;
            Ok((Outcome::Done, ()))
        };
        self.tracked(Operation::Remove, work).await
    }

    /// Lists objects of jobs that were written longer ago than `life`, and those that a killed process left unfinished.
    pub async fn old_job_objects(&self, now: SystemTime, life: Duration) -> Result<Vec<OldJobObject>, Error> {
        let is_old = |object: &Object| {
            let life = if object.name == Name::Temporary { ABANDONED_AFTER } else { life };
            age(object.modified, now) > life
        };
        let work = async {
            let objects = self.0.backend.list(&[JOBS]).await?;
            Ok((Outcome::Done, objects.into_iter().filter(is_old).map(OldJobObject).collect()))
        };
        self.tracked(Operation::List, work).await
    }

    /// Removes listed objects; returns how many were there.
    pub async fn remove_old_job_objects(&self, objects: Vec<OldJobObject>) -> Result<usize, Error> {
        let objects = objects.into_iter().map(|OldJobObject(object)| object).collect();
        let work = async {
            let removed = self.0.backend.remove_unused(objects).await?;
            Ok((Outcome::Done, removed.len()))
        };
        self.tracked(Operation::Remove, work).await
    }
}

/// An object of a job that is old enough to be removed if nobody knows the job.
#[derive(Debug)]
pub struct OldJobObject(Object);

impl OldJobObject {
    /// The job; `None` if the object was never complete.
    pub fn job(&self) -> Option<Uuid> {
        match &self.0.name {
            Name::Key(Key::Job(object)) => Some(object.job()),
            _ => None,
        }
    }
}
