//! A result on its way from the disk to the client.

use std::path::PathBuf;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tokio_util::io::ReaderStream;

use super::problem::Problem;
use crate::domain::ConversionError;
use crate::engine::workdir::ConversionFolder;
use crate::open::Memory;
use crate::packaging;
use crate::service::{Outcome, blocking};

/// A file up to this size is read at once: a stream would ask a blocking thread several times.
const SMALL: u64 = 256 << 10;

/// Bytes of a large file in memory at a time.
const CHUNK: usize = 256 << 10;

/// One file, and the folder that goes when it was sent.
pub struct Result {
    /// What the client may call it.
    pub name: String,
    path: PathBuf,
    media_type: &'static str,
    folder: ConversionFolder,
    memory: Option<Memory>,
}

impl Result {
    /// The one file of a result, or the zip of several.
    pub async fn of(outcome: Outcome) -> std::result::Result<Self, Problem> {
        let Outcome { report, folder, files, memory, stem } = outcome;
        let zip_name = format!("{stem}.zip");
        if let [only] = files.as_slice() {
            let zipped = only.file_name().is_some_and(|name| name == zip_name.as_str());
            let (name, media_type) = if zipped {
                (zip_name, "application/zip")
            } else {
                let info = report.output.format.info();
                (format!("{stem}.{}", info.extensions[0]), info.media_type)
            };
            return Ok(Self { name, path: only.clone(), media_type, folder, memory });
        }
        // Beside the files, not among them.
        let path = folder.path().join("result.zip");
        let (out, target) = (folder.output(), path.clone());
        blocking(move || packaging::zip_below(&out, &files, &target)).await?;
        Ok(Self { name: zip_name, path, media_type: "application/zip", folder, memory })
    }

    /// The file as a body, read from the disk as it is sent.
    pub async fn response(self) -> std::result::Result<Response, Problem> {
        let Self { path, media_type, folder, memory, .. } = self;
        let opened = blocking(move || {
            let _memory = memory;
            let open = || -> std::io::Result<Opened> {
                let file = std::fs::File::open(&path)?;
                let length = file.metadata()?.len();
                if length > SMALL {
                    return Ok(Opened::Large(file, length, folder));
                }
                let content = std::fs::read(&path)?;
                drop(folder);
                Ok(Opened::Small(content))
            };
            open().map_err(|error| ConversionError::io("read the result", &error))
        })
        .await?;
        let (length, body) = match opened {
            Opened::Small(content) => (content.len() as u64, Body::from(content)),
            Opened::Large(file, length, folder) => {
                let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK);
                let kept = LetGo(Some(folder));
                let body = Body::from_stream(stream.map(move |chunk| {
                    let _kept = &kept;
                    chunk
                }));
                (length, body)
            }
        };
        Ok((
            [(header::CONTENT_TYPE, media_type.to_owned()), (header::CONTENT_LENGTH, length.to_string())],
            body,
        )
            .into_response())
    }
}

enum Opened {
    Small(Vec<u8>),
    Large(std::fs::File, u64, ConversionFolder),
}

/// Removes a large folder where that may block.
struct LetGo(Option<ConversionFolder>);

impl Drop for LetGo {
    fn drop(&mut self) {
        let folder = self.0.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(folder));
        }
    }
}
