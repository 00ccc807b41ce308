//! Spools an uploaded file to the disk, or keeps it in memory if it is small.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::conversion::{Upload, UploadContent};
use crate::domain::{ConversionError, ErrorCode};
use crate::executor::workdir::ConversionFolder;
use crate::http::problem::Problem;
use crate::telemetry;

/// Bytes that are collected for one blocking write. A smaller file stays in memory.
const BATCH: usize = 128 << 10;

/// Largest file that stays in memory if a permit is free, in bytes: a cache hit then needs no file.
const MAX_IN_MEMORY: usize = 1 << 20;
static PERMITS: Semaphore = Semaphore::const_new(16);

/// A file being hashed and written.
pub struct Spool {
    /// Owned by each write too, so that the folder outlives a write whose request was cancelled.
    folder: ConversionFolder,
    number: usize,
    name: String,
    sink: Option<Sink>,
    /// Allows more than a batch in memory.
    permit: Option<SemaphorePermit<'static>>,
    /// A copy of the chunks: even a chunk of one byte may keep a whole connection buffer alive.
    pending: Vec<u8>,
    bytes: u64,
}

struct Sink {
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
}

impl Spool {
    /// Begins the `number`th file of a request. `name` is the client's name for it, which is not used on the disk.
    pub fn new(folder: &ConversionFolder, number: usize, name: &str) -> Self {
        Self {
            folder: folder.clone(),
            number,
            name: name.to_owned(),
            sink: None,
            permit: None,
            pending: Vec::new(),
            bytes: 0,
        }
    }

    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        self.bytes += chunk.len() as u64;
        self.pending.extend_from_slice(chunk);
        if self.pending.len() < BATCH || self.stays_in_memory() { Ok(()) } else { self.flush().await }
    }

    /// Whether the pending bytes may stay in memory. All files but the first go to the disk: each file in memory needs
    /// a descriptor later, and there may be thousands.
    fn stays_in_memory(&mut self) -> bool {
        if self.sink.is_some() || self.number > 0 || self.pending.len() > MAX_IN_MEMORY {
            return false;
        }
        if self.permit.is_none() && self.pending.len() >= BATCH {
            self.permit = PERMITS.try_acquire().ok();
        }
        self.permit.is_some() || self.pending.len() < BATCH
    }

    pub async fn finish(mut self) -> Result<Upload, Problem> {
        if !self.stays_in_memory() {
            self.flush().await?;
        }
        let (content, hash) = if let Some(sink) = self.sink {
            (UploadContent::File(sink.path), sink.hasher.finalize())
        } else {
            let hash = blake3::hash(&self.pending);
            (UploadContent::Memory { bytes: self.pending, permit: self.permit }, hash)
        };
        Ok(Upload { content, name: self.name, bytes: self.bytes, hash })
    }

    async fn flush(&mut self) -> Result<(), Problem> {
        let (sink, mut pending) = (self.sink.take(), std::mem::take(&mut self.pending));
        self.permit = None;
        let (folder, number) = (self.folder.clone(), self.number);
        let write = move || -> io::Result<(Sink, Vec<u8>)> {
            let open = |(path, file)| Sink { path, file, hasher: blake3::Hasher::new() };
            let mut sink = sink.map_or_else(|| folder.upload(number).map(open), Ok)?;
            sink.hasher.update(&pending);
            sink.file.write_all(&pending)?;
            drop(folder);
            pending.clear();
            pending.shrink_to(2 * BATCH);
            Ok((sink, pending))
        };
        let written = tokio::task::spawn_blocking(telemetry::in_span(write)).await.map_err(|error| {
            tracing::error!(%error, "the task that writes an upload failed");
            Problem::new(ErrorCode::Internal, "the upload could not be written")
        })?;
        let (sink, pending) = written.map_err(|error| ConversionError::io("write the upload", &error))?;
        (self.sink, self.pending) = (Some(sink), pending);
        Ok(())
    }
}
