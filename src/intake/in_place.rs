//! Files that are read where they are: another process may change the user's files in the meantime.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::domain::{ConversionError, ErrorCode};
use crate::fs::names;
use crate::fs::open::{Located, Root, folder_of};

/// A main file outside of the conversion's folder, the folder of its references, and the files that are used, each with
/// its state before it was read.
#[derive(Debug, Clone)]
pub struct Originals {
    pub main: Located,
    /// `None` for a file that was sent alone.
    pub folder: Option<Arc<Root>>,
    used: Vec<(Located, Stamp)>,
}

/// Metadata that changes when the file changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds of `ctime`, which, unlike `mtime`, cannot be set back.
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Stamp {
        let changed = (file.ctime(), file.ctime_nsec());
        Stamp { device: file.dev(), inode: file.ino(), bytes: file.len(), changed }
    }
}

impl Originals {
    /// Opens the user's file at `path`, which may be a link; the link is followed once, here.
    pub fn open(path: &Path) -> io::Result<Originals> {
        let main = Located::at(&path.canonicalize()?)?;
        Ok(Originals { main, folder: Some(Arc::new(Root::open(folder_of(path))?)), used: Vec::new() })
    }

    /// A file that was sent alone and has no references.
    pub fn alone(main: Located) -> Originals {
        Originals { main, folder: None, used: Vec::new() }
    }

    /// Adds a file that is about to be read and its metadata before that.
    pub fn add(&mut self, file: Located, before: &Metadata) {
        self.used.push((file, Stamp::of(before)));
    }

    /// Checks that no used file has changed.
    ///
    /// # Errors
    /// `io` with the first one that has.
    pub fn check(&self) -> Result<(), ConversionError> {
        let now = |file: &Located| file.open().and_then(|file| file.metadata());
        let is_same =
            |(file, stamp): &&(Located, Stamp)| now(file).is_ok_and(|now| Stamp::of(&now) == *stamp);
        let Some((file, _)) = self.used.iter().find(|used| !is_same(used)) else { return Ok(()) };
        let name = names::quoted(&file.relative().file_name().unwrap_or_default().to_string_lossy());
        Err(ConversionError::new(ErrorCode::Io, format!("{name} was changed while it was read")))
    }
}
