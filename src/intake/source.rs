//! The files of a model as they were sent, and the limits for them.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use crate::domain::{ConversionError, ErrorCode};
use crate::fs::open::{self, Located, Memory};

/// How large a model may be once it is unpacked.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all files together.
    pub max_unpacked: u64,
    /// Number of files, or entries of a zip.
    pub max_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_unpacked: 1 << 30, max_entries: 2000 }
    }
}

/// What a result may have however small models have to be, in bytes.
const LEAST_RESULT: u64 = 64 << 20;

impl Limits {
    /// How large all files of a result may be together: as large as a model.
    pub fn max_result(self) -> u64 {
        self.max_unpacked.max(LEAST_RESULT)
    }

    pub(super) fn too_large(self) -> ConversionError {
        let detail = format!("the model is above the limit of {} MB unpacked", self.max_unpacked >> 20);
        ConversionError::new(ErrorCode::TooLarge, detail)
    }
}

/// A file and what its sender calls it; the name may hold folders.
#[derive(Debug, Clone)]
pub struct Named {
    pub file: Sent,
    pub name: String,
}

/// Where a file lies that was sent.
#[derive(Debug, Clone)]
pub enum Sent {
    /// It stays there, and is copied.
    Theirs(PathBuf),
    /// It is the conversion's own and no link. It is moved, where both folders are on one file system; a zip, and a
    /// model that can be read in its place, stay where they are. On an error it may have been moved.
    Owned(PathBuf),
    /// The same, on no disk.
    Memory(Memory),
}

impl Sent {
    pub(super) fn located(&self) -> io::Result<Option<Located>> {
        match self {
            Sent::Theirs(_) => Ok(None),
            Sent::Owned(path) => Located::at(path).map(Some),
            Sent::Memory(memory) => Ok(Some(memory.clone().into())),
        }
    }

    pub(super) fn open(&self) -> io::Result<File> {
        match self {
            Sent::Theirs(path) => open::regular(path),
            Sent::Owned(path) => Located::at(path)?.open(),
            Sent::Memory(memory) => memory.open(),
        }
    }
}

/// Where a model comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// One file (which may be a zip) or several, as uploaded or piped.
    Files(Vec<Named>),
    /// One file of the user's own; what it refers to is taken from its folder. Never for uploads.
    FileWithSiblings(PathBuf),
    /// A folder of the user's own that holds one model.
    Folder(PathBuf),
}

/// Where a file of a model is.
#[derive(Debug, Clone)]
pub(super) enum Part {
    There(Located),
    /// In the model's folder.
    Here(PathBuf),
}
