//! Files of the user's own that are read where they are: somebody may write to them meanwhile.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::names;
use crate::domain::{ConversionError, ErrorCode};

/// The files, and what they were before they were read.
#[derive(Debug, Clone, Default)]
pub struct Originals(Vec<(PathBuf, Stamp)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds of the last change, which unlike that of the content cannot be set back.
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Stamp {
        let changed = (file.ctime(), file.ctime_nsec());
        Stamp { device: file.dev(), inode: file.ino(), bytes: file.len(), changed }
    }
}

impl Originals {
    pub fn add(&mut self, path: &Path, before: &Metadata) {
        self.0.push((path.to_owned(), Stamp::of(before)));
    }

    /// Checks that all are as they were.
    ///
    /// # Errors
    /// `io` that names the first that is not.
    pub fn check(&self) -> Result<(), ConversionError> {
        let is_same =
            |(path, stamp): &&(PathBuf, Stamp)| path.metadata().is_ok_and(|now| Stamp::of(&now) == *stamp);
        let Some((path, _)) = self.0.iter().find(|original| !is_same(original)) else { return Ok(()) };
        let name = names::quoted(&path.file_name().unwrap_or_default().to_string_lossy());
        Err(ConversionError::new(ErrorCode::Io, format!("{name} was changed while it was read")))
    }
}
