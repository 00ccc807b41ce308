//! One file on its way to the disk, or to memory: a small one, which is mostly all there is.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use axum::body::Bytes;

use super::Received;
use crate::domain::{ConversionError, ErrorCode};
use crate::engine::workdir::ConversionFolder;
use crate::http::problem::Problem;
use crate::intake::Sent;
use crate::open::Memory;
use crate::telemetry;

/// So much is collected before a thread that may block is asked to write it; a file that is smaller stays in memory.
const BATCH: usize = 128 << 10;

/// A file being hashed and written.
pub struct Spool {
    /// Kept by whoever writes, so that it is not removed under a write whose request was given up.
    folder: ConversionFolder,
    number: usize,
    name: String,
    sink: Option<Sink>,
    pending: Vec<Bytes>,
    pending_bytes: usize,
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
            pending: Vec::new(),
            pending_bytes: 0,
            bytes: 0,
        }
    }

    pub async fn write(&mut self, chunk: Bytes) -> Result<(), Problem> {
        self.bytes += chunk.len() as u64;
        self.pending_bytes += chunk.len();
        self.pending.push(chunk);
        if self.pending_bytes < BATCH { Ok(()) } else { self.flush().await }
    }

    pub async fn finish(mut self) -> Result<Received, Problem> {
        // Further files go to the disk, however small: each in memory costs a descriptor, and there may be thousands.
        if self.sink.is_some() || self.number > 0 {
            self.flush().await?;
        }
        let (file, hash) = match self.sink {
            Some(sink) => (Sent::Owned(sink.path), sink.hasher.finalize()),
            None => in_memory(&self.pending).map_err(|error| writing(&error))?,
        };
        Ok(Received { file, name: self.name, bytes: self.bytes, hash })
    }

    async fn flush(&mut self) -> Result<(), Problem> {
        let (sink, pending) = (self.sink.take(), std::mem::take(&mut self.pending));
        self.pending_bytes = 0;
        let (folder, number) = (self.folder.clone(), self.number);
        let write = move || -> io::Result<Sink> {
            let mut sink = if let Some(sink) = sink {
                sink
            } else {
                let (path, file) = folder.upload(number)?;
                Sink { path, file, hasher: blake3::Hasher::new() }
            };
            for chunk in pending {
                sink.hasher.update(&chunk);
                sink.file.write_all(&chunk)?;
            }
            drop(folder);
            Ok(sink)
        };
        let written = tokio::task::spawn_blocking(telemetry::in_span(write)).await.map_err(|error| {
            tracing::error!(%error, "writing an upload ended early");
            Problem::new(ErrorCode::Internal, "the upload could not be written")
        })?;
        self.sink = Some(written.map_err(|error| writing(&error))?);
        Ok(())
    }
}

fn in_memory(chunks: &[Bytes]) -> io::Result<(Sent, blake3::Hash)> {
    let memory = Memory::new()?;
    let mut hasher = blake3::Hasher::new();
    for chunk in chunks {
        hasher.update(chunk);
        memory.file().write_all(chunk)?;
    }
    Ok((Sent::Memory(memory), hasher.finalize()))
}

fn writing(error: &io::Error) -> ConversionError {
    ConversionError::io("write the upload", error)
}
