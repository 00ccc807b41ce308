//! Content of a known length, in memory or in an open file.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;

use super::open::Located;

#[derive(Debug)]
pub enum Blob {
    Memory(Bytes),
    /// A regular file, open at its beginning, and its length. It can be read even after its name was removed.
    File(File, u64),
}

impl Blob {
    /// Opens the regular file `path`, which must not be a link. Anything else is `InvalidInput`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = Located::at(path)?.open()?;
        let length = file.metadata()?.len();
        Ok(Self::File(file, length))
    }

    /// The length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Memory(content) => content.len() as u64,
            Self::File(_, length) => *length,
        }
    }
}
