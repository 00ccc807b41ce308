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
pub struct InPlaceFiles {
    pub main: Located,
    /// `None` for a file that was sent alone.
    pub folder: Option<Arc<Root>>,
    used: Vec<(Located, Stamp)>,
}

/// Device, inode, bytes and `ctime` of a file, which change when the file does; `mtime` could be set back.
type Stamp = (u64, u64, u64, (i64, i64));

fn stamp(file: &Metadata) -> Stamp {
    (file.dev(), file.ino(), file.len(), (file.ctime(), file.ctime_nsec()))
}

impl InPlaceFiles {
    /// Opens the user's file at `path`, which may be a link; the link is followed once, here.
    pub fn open(path: &Path) -> io::Result<InPlaceFiles> {
        let main = Located::at(&path.canonicalize()?)?;
        Ok(InPlaceFiles { main, folder: Some(Arc::new(Root::open(folder_of(path))?)), used: Vec::new() })
    }

    /// A file that was sent alone and has no references.
    pub fn alone(main: Located) -> InPlaceFiles {
        InPlaceFiles { main, folder: None, used: Vec::new() }
    }

    /// Adds a file that is about to be read and its metadata before that.
    pub fn add(&mut self, file: Located, before: &Metadata) {
        self.used.push((file, stamp(before)));
    }

    /// Checks that no used file has changed.
    ///
    /// # Errors
    /// `io` with the first one that has.
    pub fn check(&self) -> Result<(), ConversionError> {
        for (file, before) in &self.used {
            if !file.open().and_then(|file| file.metadata()).is_ok_and(|now| stamp(&now) == *before) {
                let name = file.relative().file_name().unwrap_or_default().to_string_lossy();
                let detail = format!("{} was changed while it was read", names::quoted(&name));
                return Err(ConversionError::new(ErrorCode::Io, detail));
            }
        }
        Ok(())
    }
}
