//! The content of a result: where it comes from when it is stored, and what a fetch returns.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::Error;

/// Up to this, a result is given out in memory: a file would have a thread asked several times. Bytes.
pub const SMALL: u64 = 256 << 10;

/// … and up to this while there is room for it.
pub const MIDDLE: u64 = 2 << 20;

/// What is to be kept.
#[derive(Debug, Clone)]
pub enum Source {
    /// A regular file that nobody writes to any more: it may become the blob itself. Its name may be removed when it
    /// was put.
    File(PathBuf),
    Bytes(Bytes),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Stored,
    /// It was there already, and is kept as long as if it were new.
    Present,
}

/// A result that is what its name says.
#[derive(Debug)]
pub enum Fetched {
    Small(Bytes),
    /// An open file at its beginning, which stays as it is whatever is removed, and its length.
    File(File, u64),
}

/// A source that is open: its name may be gone meanwhile.
pub enum Opened {
    File(Arc<File>, u64),
    Bytes(Bytes),
}

impl Opened {
    pub fn new(source: Source) -> Result<Self, Error> {
        let open = |path: &Path| -> io::Result<Self> {
            let file = crate::fs::open::regular(path)?;
            let bytes = file.metadata()?.len();
            Ok(Self::File(Arc::new(file), bytes))
        };
        match source {
            Source::Bytes(bytes) => Ok(Self::Bytes(bytes)),
            Source::File(path) => open(&path).map_err(|error| Error::ours("read the result", &error)),
        }
    }

    pub fn bytes(&self) -> u64 {
        match self {
            Self::File(_, bytes) => *bytes,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// What was found under a name.
pub enum Found {
    Sound(Fetched),
    Absent,
    /// It does not hold what it is called.
    Corrupt,
}
