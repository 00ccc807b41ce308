//! An uploaded file, kept as it was sent until it has to be converted.

use std::io::Write;
use std::path::PathBuf;

use tokio::sync::SemaphorePermit;

use super::blocking::blocking;
use crate::domain::{Census, ConversionError, Format};
use crate::fs::blob::Blob;
use crate::fs::open::Memory;
use crate::intake::{FileSource, NamedFile};
use crate::storage::Hash;
use crate::{cache, inspect};

#[derive(Debug)]
pub struct Upload {
    /// The client's name for it; may contain folders, or be empty for a raw body.
    pub name: String,
    pub bytes: u64,
    pub hash: Hash,
    pub content: UploadContent,
}

#[derive(Debug)]
pub enum UploadContent {
    /// A file in the conversion's folder.
    File(PathBuf),
    /// The content, with the permit to hold it in memory.
    Memory { bytes: Vec<u8>, permit: Option<SemaphorePermit<'static>> },
}

impl Upload {
    /// The name of the file in the conversion: `model` if it was sent without one.
    fn model_name(&self) -> &str {
        if self.name.is_empty() { "model" } else { &self.name }
    }

    /// Opens the content, to store it.
    ///
    /// # Errors
    /// `io`
    pub async fn blob(&self) -> Result<Blob, ConversionError> {
        let path = match &self.content {
            UploadContent::Memory { bytes, .. } => return Ok(Blob::Memory(bytes.clone().into())),
            UploadContent::File(path) => path.clone(),
        };
        blocking(move |_| Blob::open(&path).map_err(|error| ConversionError::io("read the upload", &error)))
            .await
    }

    /// Takes the census of the files of a model, for a conversion to this format. Reads only their beginnings.
    ///
    /// # Errors
    /// `io`
    pub async fn census(uploads: &[Upload], target: Format) -> Result<Census, ConversionError> {
        let mut files = Vec::with_capacity(uploads.len());
        for upload in uploads {
            files.push((upload.name.clone(), upload.blob().await?));
        }
        blocking(move |_| Ok(inspect::census(files, target))).await
    }

    pub(super) fn hashed_file(&self) -> cache::HashedFile {
        cache::HashedFile {
            name: self.model_name().to_owned(),
            hash: *self.hash.as_bytes(),
            bytes: self.bytes,
        }
    }

    /// Returns the file for intake.
    ///
    /// # Errors
    /// `io`
    pub(super) fn to_intake_file(&self) -> Result<NamedFile, ConversionError> {
        let file = match &self.content {
            UploadContent::File(path) => FileSource::ConversionFile(path.clone()),
            UploadContent::Memory { bytes, .. } => {
                let memory = Memory::new().and_then(|memory| memory.file().write_all(bytes).map(|()| memory));
                FileSource::Memory(memory.map_err(|error| ConversionError::io("hold the upload", &error))?)
            }
        };
        Ok(NamedFile { name: self.model_name().to_owned(), file })
    }
}
