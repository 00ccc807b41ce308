//! A result as the one file that it is handed over and kept as.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use blake3::Hasher;
use bytes::Bytes;
use uuid::Uuid;

use super::{Outcome, blocking};
use crate::cache;
use crate::domain::ConversionError;
use crate::packaging;
use crate::storage::{self, Fetched, Hash, SMALL};

/// A finished conversion with its one file, shared by all who asked for it.
#[derive(Debug)]
pub struct Made {
    /// None once it is being dropped.
    outcome: Option<Outcome>,
    /// What is to be known of it.
    pub about: cache::Result,
    /// The API key that it belongs to.
    pub owner: Option<Arc<str>>,
    /// The one file, unless it is small.
    path: PathBuf,
    small: Option<Bytes>,
}

impl Made {
    /// Packs several files into one, and hashes it.
    ///
    /// # Errors
    /// `io`, `disk_full`.
    pub async fn new(
        outcome: Outcome,
        report: Uuid,
        owner: Option<Arc<str>>,
    ) -> Result<Made, ConversionError> {
        blocking(move |_| {
            let (path, zip, main) = one_file(&outcome)?;
            let (bytes, hash, small) = read(&path, outcome.memory.is_some())
                .map_err(|error| ConversionError::io("read the result", &error))?;
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
            Ok(Made { outcome: Some(outcome), about, owner, path, small })
        })
        .await
    }

    /// The conversion's own files.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// As if it were in the store already.
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

    /// For the store.
    pub fn source(&self) -> storage::Source {
        match &self.small {
            Some(small) => storage::Source::Bytes(small.clone()),
            None => storage::Source::File(self.path.clone()),
        }
    }
}

/// Large folders are removed where that may block.
impl Drop for Made {
    fn drop(&mut self) {
        let outcome = self.outcome.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(outcome));
        }
    }
}

/// The only file, or a zip of several, whose main file is named then; and whether it is a zip.
fn one_file(outcome: &Outcome) -> Result<(PathBuf, bool, Option<Box<str>>), ConversionError> {
    let zip_name = format!("{}.zip", outcome.stem);
    if let [only] = outcome.files.as_slice() {
        let zip = only.file_name().is_some_and(|name| name == zip_name.as_str());
        return Ok((only.clone(), zip, None));
    }
    // Beside the files, not among them.
    let path = outcome.folder.path().join("result.zip");
    let out = outcome.folder.output();
    packaging::zip_below(&out, &outcome.files, &path)?;
    let main = outcome.files.first().and_then(|main| main.strip_prefix(&out).ok());
    Ok((path, true, main.map(|main| main.to_string_lossy().into())))
}

fn read(path: &std::path::Path, whole: bool) -> io::Result<(u64, Hash, Option<Bytes>)> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    if whole || bytes <= SMALL {
        let content = std::fs::read(path)?;
        return Ok((content.len() as u64, blake3::hash(&content), Some(content.into())));
    }
    Ok((bytes, Hasher::new().update_reader(&file)?.finalize(), None))
}
