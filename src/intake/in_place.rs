//! Files that are read where they are: somebody may write to the user's own meanwhile.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::domain::{ConversionError, ErrorCode};
use crate::fs::names;
use crate::fs::open::{Located, Root, folder_of};

/// A main file that is not in the conversion's folder, the folder in which its references are looked for, and the
/// files that are used, with what they were before they were read.
#[derive(Debug, Clone)]
pub struct Originals {
    pub main: Located,
    /// Absent for a file that was sent alone.
    pub folder: Option<Arc<Root>>,
    used: Vec<(Located, Stamp)>,
}

/// What tells whether a file is still the same.
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
    /// The user may well name the file at `path` by a link; from here on, it is the file that this leads to now.
    ///
    /// # Errors
    /// What the file system says.
    pub fn of(path: &Path) -> io::Result<Originals> {
        let main = Located::at(&path.canonicalize()?)?;
        Ok(Originals { main, folder: Some(Arc::new(Root::open(folder_of(path))?)), used: Vec::new() })
    }

    /// A file that was sent alone.
    pub fn alone(main: Located) -> Originals {
        Originals { main, folder: None, used: Vec::new() }
    }

    /// Adds a file that is about to be read, and is now as `before` says.
    pub fn add(&mut self, file: Located, before: &Metadata) {
        self.used.push((file, Stamp::of(before)));
    }

    /// Checks that all are as they were.
    ///
    /// # Errors
    /// `io` that names the first that is not.
    pub fn check(&self) -> Result<(), ConversionError> {
        let now = |file: &Located| file.open().and_then(|file| file.metadata());
        let is_same =
            |(file, stamp): &&(Located, Stamp)| now(file).is_ok_and(|now| Stamp::of(&now) == *stamp);
        let Some((file, _)) = self.used.iter().find(|used| !is_same(used)) else { return Ok(()) };
        let name = names::quoted(&file.relative().file_name().unwrap_or_default().to_string_lossy());
        Err(ConversionError::new(ErrorCode::Io, format!("{name} was changed while it was read")))
    }
}
