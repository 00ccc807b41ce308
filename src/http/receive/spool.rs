//! One file on its way to the disk.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use axum::body::Bytes;

use super::Received;
use crate::domain::{ConversionError, ErrorCode};
use crate::engine::workdir::ConversionFolder;
use crate::http::problem::Problem;
use crate::telemetry;

/// So much is collected before a thread that may block is asked to write it.
const BATCH: usize = 128 << 10;

/// A file being written and hashed, on threads that may block.
pub struct Spool {
    /// Kept by whoever writes, so that it is not removed under a write whose request was given up.
    folder: ConversionFolder,
    path: PathBuf,
    name: String,
    sink: Option<Sink>,
    pending: Vec<Bytes>,
    pending_bytes: usize,
    bytes: u64,
}

struct Sink {
    file: File,
    hasher: blake3::Hasher,
}

impl Spool {
    /// The `number`th file of the request, which its sender calls `name`; the disk does not see that name.
    pub fn new(folder: &ConversionFolder, number: usize, name: &str) -> Self {
        Self {
            folder: folder.clone(),
            path: folder.input().join(number.to_string()),
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
        self.flush().await?;
        let hash = self.sink.map_or_else(|| blake3::hash(b""), |sink| sink.hasher.finalize());
        Ok(Received { path: self.path, name: self.name, bytes: self.bytes, hash })
    }

    async fn flush(&mut self) -> Result<(), Problem> {
        let (sink, pending, path) = (self.sink.take(), std::mem::take(&mut self.pending), self.path.clone());
        self.pending_bytes = 0;
        let folder = self.folder.clone();
        let write = move || -> io::Result<Sink> {
            let _folder = folder;
            let mut sink = match sink {
                Some(sink) => sink,
                None => Sink { file: File::create_new(path)?, hasher: blake3::Hasher::new() },
            };
            for chunk in pending {
                sink.hasher.update(&chunk);
                sink.file.write_all(&chunk)?;
            }
            Ok(sink)
        };
        let written = tokio::task::spawn_blocking(telemetry::in_span(write)).await.map_err(|error| {
            tracing::error!(%error, "writing an upload ended early");
            Problem::new(ErrorCode::Internal, "the upload could not be written")
        })?;
        let sink = written.map_err(|error| ConversionError::io("write the upload", &error))?;
        self.sink = Some(sink);
        Ok(())
    }
}
