//! The `Repr-Digest` of results. The store knows only their BLAKE3, so the SHA-256 is computed when it is first asked for.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::{LazyLock, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};
use axum::http::HeaderValue;
use lru::LruCache;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::fs::blob::Blob;
use crate::http::digest::repr_digest;
use crate::telemetry;

/// Results whose digest is kept in memory.
const MAX_KEPT: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// Results of up to this many bytes always have a digest: hashing takes some hundredths of a second. Larger ones have it
/// if the client asks for it, or if it is known.
const ALWAYS: u64 = 16 << 20;

/// Bytes that are read at a time.
const CHUNK: usize = 128 << 10;

/// The digests by job: the result of a job never changes.
static KEPT: LazyLock<Mutex<LruCache<Uuid, HeaderValue>>> =
    LazyLock::new(|| Mutex::new(LruCache::new(MAX_KEPT)));

/// Results that are hashed at a time.
static HASHING: Semaphore = Semaphore::const_new(2);

/// Returns the digest if it is known.
pub fn known(job: Uuid) -> Option<HeaderValue> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).get(&job).cloned()
}

/// Returns the digest of a job's result, and leaves the position of its file as it is. `None`: the result is large and
/// its digest is neither wanted nor known, or it cannot be read.
pub async fn find_or_compute(job: Uuid, content: &Blob, is_wanted: bool) -> Option<HeaderValue> {
    if let Some(known) = known(job) {
        return Some(known);
    }
    match content {
        Blob::Memory(content) => keep(job, &digest(&SHA256, content)),
        Blob::File(_, length) if *length > ALWAYS && !is_wanted => None,
        Blob::File(file, length) => {
            let (file, length) = (file.try_clone().ok()?, *length);
            let permit = HASHING.acquire().await.ok()?;
            // A client that hangs up meanwhile may come back, so the digest is kept anyway.
            let work = move || {
                let _permit = permit;
                hash(&file, length).map(|digest| keep(job, &digest))
            };
            match tokio::task::spawn_blocking(telemetry::in_span(work)).await.ok()? {
                Ok(digest) => digest,
                Err(error) => {
                    tracing::warn!(%error, %job, "the digest of a result could not be computed");
                    None
                }
            }
        }
    }
}

fn keep(job: Uuid, digest: &Digest) -> Option<HeaderValue> {
    let value = repr_digest(digest)?;
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).put(job, value.clone());
    Some(value)
}

/// Hashes a file without moving its position, which the copies of a handle share.
fn hash(file: &File, length: u64) -> io::Result<Digest> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < length {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        context.update(buffer.get(..read).unwrap_or_default());
        at += read as u64;
    }
    Ok(context.finish())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[tokio::test]
    async fn files_and_memory_have_the_same_digest() {
        let bytes = vec![7; 3 * CHUNK + 1];
        let length = bytes.len() as u64;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let expected = repr_digest(&digest(&SHA256, &bytes));
        let memory = Blob::Memory(bytes.into());
        assert_eq!(find_or_compute(Uuid::now_v7(), &memory, false).await, expected);
        let handle = file.try_clone().unwrap();
        let job = Uuid::now_v7();
        assert_eq!(known(job), None);
        assert_eq!(find_or_compute(job, &Blob::File(file, length), false).await, expected);
        assert_eq!(known(job), expected);
        // It still stands at the end.
        assert_eq!((&handle).read(&mut [0; 1]).unwrap(), 0);
    }

    #[tokio::test]
    async fn a_large_result_is_hashed_only_on_request() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(ALWAYS + 1).unwrap();
        let (job, content) = (Uuid::now_v7(), Blob::File(file, ALWAYS + 1));
        assert_eq!(find_or_compute(job, &content, false).await, None);
        let digest = find_or_compute(job, &content, true).await;
        assert!(digest.is_some());
        assert_eq!(find_or_compute(job, &content, false).await, digest);
    }
}
