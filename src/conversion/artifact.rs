//! A result as the one file that is delivered and stored.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blake3::Hasher;
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use super::{Outcome, blocking};
use crate::cache;
use crate::domain::{Cancel, ConversionError};
use crate::fs::zip::zip_below;
use crate::storage::{self, Fetched, Hash, SMALL};

/// Large results packed at a time; the engine's slots are free again by then.
static PLACES: Semaphore = Semaphore::const_new(4);

/// Results of up to this many bytes are packed in a second or less, and wait for no place.
const QUICK: u64 = 16 << 20;

/// Waits for a place to pack a result of `bytes`. The caller holds it until the work has ended.
pub(super) async fn place(bytes: u64) -> Option<SemaphorePermit<'static>> {
    if bytes <= QUICK {
        return None;
    }
    // The places are never closed.
    PLACES.acquire().await.ok()
}

/// A finished conversion with its one file, shared by all requests for it.
#[derive(Debug)]
pub struct Artifact {
    /// The conversion's own files.
    pub outcome: Outcome,
    /// The description that the cache keeps.
    pub about: cache::Result,
    /// The API key that it belongs to.
    pub owner: Option<Arc<str>>,
    /// The one file, unless it is small.
    path: PathBuf,
    small: Option<Bytes>,
}

impl Artifact {
    /// Packs several files into one, and hashes it. Dropping the future cancels the work.
    ///
    /// # Errors
    /// `io`, `disk_full`, `cancelled`.
    pub async fn new(
        outcome: Outcome,
        report: Uuid,
        owner: Option<Arc<str>>,
    ) -> Result<Artifact, ConversionError> {
        let place = place(outcome.report.output.bytes).await;
        blocking(move |cancel| {
            let _place = place;
            let (path, zip, main) = one_file(&outcome, cancel)?;
            let (bytes, hash, small) = read(&path, outcome.memory.is_some(), cancel)?;
            let about = cache::Result {
                hash,
                bytes,
                format: outcome.report.output.format,
                main,
                zip,
                stem: outcome.stem.as_str().into(),
                report,
                losses: outcome.report.losses.len() as u32,
            };
            Ok(Artifact { outcome, about, owner, path, small })
        })
        .await
    }

    /// Opens the file like a stored result.
    ///
    /// # Errors
    /// `io`
    pub async fn content(&self) -> Result<Fetched, ConversionError> {
        if let Some(small) = &self.small {
            return Ok(Fetched::Small(small.clone()));
        }
        let (path, bytes) = (self.path.clone(), self.about.bytes);
        blocking(move |_| {
            let file = File::open(&path).map_err(|error| ConversionError::io("read the result", &error))?;
            Ok(Fetched::File(file, bytes))
        })
        .await
    }

    /// Returns the file for the store.
    pub fn source(&self) -> storage::Source {
        match &self.small {
            Some(small) => storage::Source::Bytes(small.clone()),
            None => storage::Source::File(self.path.clone()),
        }
    }
}

/// Returns the only file or a zip of several, whether it is a zip, and the main file's name if several were zipped.
fn one_file(
    outcome: &Outcome,
    cancel: &Cancel,
) -> Result<(PathBuf, bool, Option<Box<str>>), ConversionError> {
    let zip_name = format!("{}.zip", outcome.stem);
    if let [only] = outcome.files.as_slice() {
        let zip = only.file_name().is_some_and(|name| name == zip_name.as_str());
        return Ok((only.clone(), zip, None));
    }
    // Beside the files, not among them.
    let path = outcome.folder.path().join("result.zip");
    let out = outcome.folder.output();
    zip_below(&out, &outcome.files, &path, cancel)?;
    let main = outcome.files.first().and_then(|main| main.strip_prefix(&out).ok());
    Ok((path, true, main.map(|main| main.to_string_lossy().into())))
}

/// Bytes hashed between two checks for cancellation.
const CHUNK: u64 = 64 << 20;

fn read(path: &Path, whole: bool, cancel: &Cancel) -> Result<(u64, Hash, Option<Bytes>), ConversionError> {
    let failed = |error| ConversionError::io("read the result", &error);
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    if whole || bytes <= SMALL {
        let content = std::fs::read(path).map_err(failed)?;
        return Ok((content.len() as u64, blake3::hash(&content), Some(content.into())));
    }
    let mut hasher = Hasher::new();
    while hasher.count() < bytes {
        cancel.check()?;
        let before = hasher.count();
        hasher.update_reader((&file).take(CHUNK)).map_err(failed)?;
        if hasher.count() == before {
            break;
        }
    }
    Ok((hasher.count(), hasher.finalize(), None))
}
