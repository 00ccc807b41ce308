//! One file on its way to the disk, or to memory: a small one, which is mostly all there is.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::conversion::{Upload, UploadContent};
use crate::domain::{ConversionError, ErrorCode};
use crate::executor::workdir::ConversionFolder;
use crate::http::problem::Problem;
use crate::telemetry;

/// So much is collected before a thread that may block is asked to write it; a file that is smaller stays in memory.
const BATCH: usize = 128 << 10;

/// Up to this, a file stays in memory while there is room for it: what is known already is answered without a file.
const HELD: usize = 1 << 20;
static ROOM: Semaphore = Semaphore::const_new(16);

/// A file being hashed and written.
pub struct Spool {
    /// Kept by whoever writes, so that it is not removed under a write whose request was given up.
    folder: ConversionFolder,
    number: usize,
    name: String,
    sink: Option<Sink>,
    /// For more than a batch in memory.
    room: Option<SemaphorePermit<'static>>,
    /// Copied together: a chunk of one byte may keep a buffer of the connection of several kilobytes.
    pending: Vec<u8>,
    bytes: u64,
}

struct Sink {
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
}

impl Spool {
    /// The `number`th file of the request, which its sender calls `name`; the disk does not see that name.
    pub fn new(folder: &ConversionFolder, number: usize, name: &str) -> Self {
        Self {
            folder: folder.clone(),
            number,
            name: name.to_owned(),
            sink: None,
            room: None,
            pending: Vec::new(),
            bytes: 0,
        }
    }

    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        self.bytes += chunk.len() as u64;
        self.pending.extend_from_slice(chunk);
        if self.pending.len() < BATCH || self.holds() { Ok(()) } else { self.flush().await }
    }

    /// Whether what is pending may stay in memory. Further files go to the disk, however small: each in memory costs a
    /// descriptor later, and there may be thousands.
    fn holds(&mut self) -> bool {
        if self.sink.is_some() || self.number > 0 || self.pending.len() > HELD {
            return false;
        }
        if self.room.is_none() && self.pending.len() >= BATCH {
            self.room = ROOM.try_acquire().ok();
        }
        self.room.is_some() || self.pending.len() < BATCH
    }

    pub async fn finish(mut self) -> Result<Upload, Problem> {
        if !self.holds() {
            self.flush().await?;
        }
        let (content, hash) = if let Some(sink) = self.sink {
            (UploadContent::File(sink.path), sink.hasher.finalize())
        } else {
            let hash = blake3::hash(&self.pending);
            (UploadContent::Memory { bytes: self.pending, permit: self.room }, hash)
        };
        Ok(Upload { content, name: self.name, bytes: self.bytes, hash })
    }

    async fn flush(&mut self) -> Result<(), Problem> {
        let (sink, mut pending) = (self.sink.take(), std::mem::take(&mut self.pending));
        self.room = None;
        let (folder, number) = (self.folder.clone(), self.number);
        let write = move || -> io::Result<(Sink, Vec<u8>)> {
            let mut sink = if let Some(sink) = sink {
                sink
            } else {
                let (path, file) = folder.upload(number)?;
                Sink { path, file, hasher: blake3::Hasher::new() }
            };
            sink.hasher.update(&pending);
            sink.file.write_all(&pending)?;
            drop(folder);
            pending.clear();
            pending.shrink_to(2 * BATCH);
            Ok((sink, pending))
        };
        let written = tokio::task::spawn_blocking(telemetry::in_span(write)).await.map_err(|error| {
            tracing::error!(%error, "writing an upload ended early");
            Problem::new(ErrorCode::Internal, "the upload could not be written")
        })?;
        let (sink, pending) = written.map_err(|error| writing(&error))?;
        (self.sink, self.pending) = (Some(sink), pending);
        Ok(())
    }
}

fn writing(error: &io::Error) -> ConversionError {
    ConversionError::io("write the upload", error)
}
