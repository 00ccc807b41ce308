//! A result as the one file that is delivered and stored.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blake3::Hasher;
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use super::blocking::blocking;
use super::finished::FinishedConversion;
use crate::cache;
use crate::domain::{Cancel, ConversionError};
use crate::fs::blob::Blob;
use crate::fs::zip::zip_below;
use crate::storage::{Hash, SMALL};

/// Large results zipped or hashed at a time; the engine's slots are free again by then.
static ZIP_PERMITS: Semaphore = Semaphore::const_new(4);

/// Results of up to this many bytes are zipped in a second or less, and wait for no place.
const SMALL_RESULT: u64 = 16 << 20;

/// Waits for a place to zip a result of `bytes`. The caller holds it until the work has ended.
pub(super) async fn zip_permit(bytes: u64) -> Option<SemaphorePermit<'static>> {
    if bytes <= SMALL_RESULT {
        return None;
    }
    // The semaphore is never closed.
    ZIP_PERMITS.acquire().await.ok()
}

/// A finished conversion with its one file, shared by all requests for it.
#[derive(Debug)]
pub struct Artifact {
    /// The conversion, whose own files stay as long as this.
    pub conversion: FinishedConversion,
    /// The description that the cache keeps.
    pub info: cache::ResultInfo,
    /// The API key that it belongs to.
    pub owner: Option<Arc<str>>,
    /// The one file, unless it is small.
    path: PathBuf,
    small: Option<Bytes>,
}

impl Artifact {
    /// Zips several files, and hashes the one file. Dropping the future cancels the work.
    ///
    /// # Errors
    /// `io`, `disk_full`, `cancelled`.
    pub async fn new(
        conversion: FinishedConversion,
        report: Uuid,
        owner: Option<Arc<str>>,
    ) -> Result<Artifact, ConversionError> {
        let zip_permit = zip_permit(conversion.report.output.bytes).await;
        blocking(move |cancel| {
            let _zip_permit = zip_permit;
            let (path, zip, main) = one_file(&conversion, cancel)?;
            let (bytes, hash, small) = read(&path, conversion.memory.is_some(), cancel)?;
            let info = cache::ResultInfo {
                hash,
                bytes,
                format: conversion.report.output.format,
                main,
                zip,
                stem: conversion.stem.as_str().into(),
                report,
                losses: conversion.report.losses.len() as u32,
            };
            Ok(Artifact { conversion, info, owner, path, small })
        })
        .await
    }

    /// Opens the one file, for a client or the store.
    ///
    /// # Errors
    /// `io`
    pub async fn content(&self) -> Result<Blob, ConversionError> {
        if let Some(small) = &self.small {
            return Ok(Blob::Memory(small.clone()));
        }
        let path = self.path.clone();
        blocking(move |_| Blob::open(&path).map_err(|error| ConversionError::io("read the result", &error)))
            .await
    }
}

/// Returns the only file or a zip of several, whether it is a zip, and the main file's name if several were zipped.
fn one_file(
    conversion: &FinishedConversion,
    cancel: &Cancel,
) -> Result<(PathBuf, bool, Option<Box<str>>), ConversionError> {
    if let [only] = conversion.files.as_slice() {
        return Ok((only.clone(), only.ends_with(format!("{}.zip", conversion.stem)), None));
    }
    // Beside the files, not among them.
    let path = conversion.folder.path().join("result.zip");
    let out = conversion.folder.output();
    zip_below(&out, &conversion.files, &path, cancel)?;
    let main = conversion.files.first().and_then(|main| main.strip_prefix(&out).ok());
    Ok((path, true, main.map(|main| main.to_string_lossy().into())))
}

fn read(path: &Path, whole: bool, cancel: &Cancel) -> Result<(u64, Hash, Option<Bytes>), ConversionError> {
    let failed = |error| ConversionError::io("read the result", &error);
    let file = File::open(path).map_err(failed)?;
    if whole || file.metadata().map_err(failed)?.len() <= SMALL {
        let content = std::fs::read(path).map_err(failed)?;
        return Ok((content.len() as u64, blake3::hash(&content), Some(content.into())));
    }
    let mut hasher = Hasher::new();
    hasher.update_reader(cancel.reader(file)).map_err(failed)?;
    Ok((hasher.count(), hasher.finalize(), None))
}
