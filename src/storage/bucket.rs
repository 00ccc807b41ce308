//! Blobs in a bucket: sent in parts, and fetched into a file.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use blake3::{Hash, Hasher};
use bytes::Bytes;
use futures_util::StreamExt;
use object_store::path::Path as Location;
use object_store::{GetResult, ObjectStore, ObjectStoreExt, WriteMultipart};

use super::blob::{Fetched, Found, Opened, SMALL};
use super::error::Error;

/// More is sent in parts of this size: S3 takes 10,000 of them, of 5 MiB at least. Bytes.
const PART: usize = 8 << 20;

/// Parts on their way at a time.
const AT_ONCE: usize = 2;

/// Pieces that came and are not written yet: a few hundred kilobytes.
const PENDING: usize = 16;

/// Sends a blob. It is there, whole, only once everything has arrived: nothing that looks for old blobs can see one on
/// its way, nor remove it.
pub async fn upload(
    store: &dyn ObjectStore,
    location: &Location,
    source: Opened,
    name: &str,
) -> Result<(), Error> {
    let failed = |error: object_store::Error| Error::of(name, &error);
    let bytes = source.bytes();
    let mut parts = Parts { source, sent: 0, bytes };
    if bytes <= PART as u64 {
        let content = parts.next().await?.unwrap_or_default();
        return store.put(location, content.into()).await.map(drop).map_err(failed);
    }
    let upload = store.put_multipart(location).await.map_err(failed)?;
    let mut writer = WriteMultipart::new_with_chunk_size(upload, PART);
    let sent = loop {
        match parts.next().await {
            Ok(Some(part)) => writer.put(part),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        if let Err(error) = writer.wait_for_capacity(AT_ONCE).await {
            break Err(failed(error));
        }
    };
    match sent {
        Ok(()) => writer.finish().await.map(drop).map_err(failed),
        Err(error) => {
            // The parts that were sent; where that fails too, a rule of the bucket has to remove them.
            let _ = writer.abort().await;
            Err(error)
        }
    }
}

struct Parts {
    source: Opened,
    sent: u64,
    bytes: u64,
}

impl Parts {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let length = (self.bytes - self.sent).min(PART as u64);
        if length == 0 {
            return Ok(None);
        }
        let part = match &self.source {
            Opened::Bytes(bytes) => bytes.slice(self.sent as usize..(self.sent + length) as usize),
            Opened::File(file, _) => read(Arc::clone(file), length).await?,
        };
        self.sent += length;
        Ok(Some(part))
    }
}

/// The next bytes of a file, and an error where it has become shorter.
async fn read(file: Arc<File>, length: u64) -> Result<Bytes, Error> {
    let read = move || -> io::Result<Bytes> {
        let mut content = vec![0; length as usize];
        (&*file).read_exact(&mut content)?;
        Ok(content.into())
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(io::Error::from);
    read.flatten().map_err(|error| Error::ours("read the result", &error))
}

/// Takes what comes, and checks it.
pub async fn download(found: GetResult, hash: Hash, spool: &Path, name: &str) -> Result<Found, Error> {
    let failed = |error: object_store::Error| Error::of(name, &error);
    let bytes = found.meta.size;
    if bytes <= SMALL {
        let content = found.bytes().await.map_err(failed)?;
        let is_sound = blake3::hash(&content) == hash;
        return Ok(if is_sound { Found::Sound(Fetched::Small(content)) } else { Found::Corrupt });
    }
    let (sender, mut pieces) = tokio::sync::mpsc::channel::<Bytes>(PENDING);
    let spool = spool.to_owned();
    let writing = tokio::task::spawn_blocking(move || -> io::Result<(File, Hash, u64)> {
        // It has no name, so that nothing of it is left, whatever happens.
        let mut file = tempfile::tempfile_in(spool)?;
        let (mut hasher, mut written) = (Hasher::new(), 0);
        while let Some(piece) = pieces.blocking_recv() {
            hasher.update(&piece);
            file.write_all(&piece)?;
            written += piece.len() as u64;
        }
        file.rewind()?;
        Ok((file, hasher.finalize(), written))
    });
    let mut stream = found.into_stream();
    while let Some(piece) = stream.next().await {
        // Nobody takes it where it could not be written, which is told below.
        if sender.send(piece.map_err(failed)?).await.is_err() {
            break;
        }
    }
    drop(sender);
    let written = writing.await.map_err(io::Error::from).flatten();
    let (file, found, written) =
        written.map_err(|error| Error::ours("write the result to the disk", &error))?;
    let is_sound = written == bytes && found == hash;
    Ok(if is_sound { Found::Sound(Fetched::File(file, bytes)) } else { Found::Corrupt })
}
