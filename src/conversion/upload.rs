//! A file that a client has sent, kept as it came until it is clear that it has to be converted.

use std::io::{self, Write};
use std::path::PathBuf;

use tokio::sync::SemaphorePermit;

use crate::cache;
use crate::domain::ConversionError;
use crate::fs::open::Memory;
use crate::intake::{Named, Sent};
use crate::storage::Hash;

/// The name of a model that came without one.
const NAMELESS: &str = "model";

#[derive(Debug)]
pub struct Upload {
    /// The sender's name for it; may hold folders, or be empty where a raw body came without one.
    pub name: String,
    pub bytes: u64,
    pub hash: Hash,
    pub content: UploadContent,
}

#[derive(Debug)]
pub enum UploadContent {
    /// In the conversion's folder.
    File(PathBuf),
    /// As it came, with the permit to hold it.
    Memory { bytes: Vec<u8>, permit: Option<SemaphorePermit<'static>> },
}

impl Upload {
    /// Its name in the conversion.
    pub fn model_name(&self) -> &str {
        if self.name.is_empty() { NAMELESS } else { &self.name }
    }

    pub(super) fn part(&self) -> cache::Part {
        cache::Part { name: self.model_name().to_owned(), hash: *self.hash.as_bytes(), bytes: self.bytes }
    }

    /// The file for intake.
    ///
    /// # Errors
    /// `io`
    pub(super) fn named(&self) -> Result<Named, ConversionError> {
        let file = match &self.content {
            UploadContent::File(path) => Sent::Owned(path.clone()),
            UploadContent::Memory { bytes, .. } => Sent::Memory(
                in_memory(bytes).map_err(|error| ConversionError::io("hold the upload", &error))?,
            ),
        };
        Ok(Named { name: self.model_name().to_owned(), file })
    }
}

fn in_memory(bytes: &[u8]) -> io::Result<Memory> {
    let memory = Memory::new()?;
    memory.file().write_all(bytes)?;
    Ok(memory)
}
