//! The files of a model as they are sent, and the limits for them.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use crate::domain::{ConversionError, ErrorCode};
use crate::fs::open::{self, Located, Memory};

/// The largest model that is accepted, after unpacking.
#[derive(Debug, Clone, Copy)]
pub struct ModelLimits {
    /// Bytes of all files together.
    pub max_unpacked: u64,
    /// Number of files, or entries of a zip.
    pub max_entries: usize,
}

impl Default for ModelLimits {
    fn default() -> Self {
        Self { max_unpacked: 1 << 30, max_entries: 2000 }
    }
}

impl ModelLimits {
    /// Largest size of all files of a result together, in bytes: that of a model, but at least 64 MiB.
    pub fn max_result(self) -> u64 {
        self.max_unpacked.max(64 << 20)
    }

    pub(super) fn too_large(self) -> ConversionError {
        let detail = format!("the model is above the limit of {} MB unpacked", self.max_unpacked >> 20);
        ConversionError::new(ErrorCode::TooLarge, detail)
    }
}

/// A file and its sender's name for it, which may hold folders.
#[derive(Debug, Clone)]
pub struct NamedFile {
    pub file: FileSource,
    pub name: String,
}

/// The location of a file that was sent.
#[derive(Debug, Clone)]
pub enum FileSource {
    /// The user's own file: it is copied and never changed.
    UserFile(PathBuf),
    /// The conversion's own file, not a link. It is moved if both folders are on one file system. A zip, and a model
    /// that can be read in place, stay where they are. After an error it may have been moved.
    ConversionFile(PathBuf),
    /// As `ConversionFile`, but in memory.
    Memory(Memory),
}

impl FileSource {
    pub(super) fn located(&self) -> io::Result<Option<Located>> {
        match self {
            FileSource::UserFile(_) => Ok(None),
            FileSource::ConversionFile(path) => Located::at(path).map(Some),
            FileSource::Memory(memory) => Ok(Some(memory.clone().into())),
        }
    }

    pub(super) fn open(&self) -> io::Result<File> {
        match self {
            FileSource::UserFile(path) => open::regular(path),
            FileSource::ConversionFile(path) => Located::at(path)?.open(),
            FileSource::Memory(memory) => memory.open(),
        }
    }
}

/// The source of a model.
#[derive(Debug, Clone)]
pub enum Source {
    /// Uploaded or piped: one file, which may be a zip, or several.
    Files(Vec<NamedFile>),
    /// One file of the user's own; files that it refers to are taken from its folder. Never used for uploads.
    FileWithSiblings(PathBuf),
    /// A folder of the user's own that holds one model.
    Folder(PathBuf),
}

/// The error of reading a file of a model.
#[allow(clippy::needless_pass_by_value)] // the signature of `map_err`
pub(super) fn unreadable(error: io::Error) -> ConversionError {
    ConversionError::io("read the model", &error)
}
