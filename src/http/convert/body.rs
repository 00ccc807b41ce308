//! Response bodies of results.

use axum::body::Body;
use futures_util::StreamExt;
use tokio_util::io::ReaderStream;

use crate::fs::blob::Blob;

/// Bytes of a large file that are read at a time; a slow client keeps about four such chunks in memory.
const CHUNK: usize = 64 << 10;

/// Returns the length of the content, and a body that reads it from the disk as it is sent. The body owns `kept`.
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
