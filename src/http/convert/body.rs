//! A result on its way to the client.

use axum::body::Body;
use futures_util::StreamExt;
use tokio_util::io::ReaderStream;

use crate::fs::blob::Blob;

/// Bytes of a large file that are read at a time; a client that takes its answer slowly keeps some four of them in memory.
const CHUNK: usize = 64 << 10;

/// The content as a body, read from the disk as it is sent, and its length. `kept` is so until it is sent.
pub fn body(content: Blob, kept: impl Send + 'static) -> (u64, Body) {
    match content {
        Blob::Memory(content) => (content.len() as u64, Body::from(content)),
        Blob::File(file, length) => {
            let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK);
            let body = Body::from_stream(stream.map(move |chunk| {
                let _kept = &kept;
                chunk
            }));
            (length, body)
        }
    }
}
