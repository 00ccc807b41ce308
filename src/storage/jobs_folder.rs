//! The folder of objects of jobs in a local store. A marker in it tells a process that it is still the same folder: while
//! a disk is not mounted, an empty or another folder may lie in its place, in which no object may count as lost or stored.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use uuid::Uuid;

use super::aside::write_aside;
use super::keys::JOBS;
use crate::fs::open::{if_present, make_private};

/// The name of the marker. Its content is random, and the same for the life of the folder.
const MARKER: &str = ".store";

pub struct JobsFolder {
    path: PathBuf,
    /// The content of the marker when this process found the folder for the first time.
    known: OnceLock<Vec<u8>>,
}

impl JobsFolder {
    /// The folder of objects of jobs below `root`, without touching it.
    pub fn new(root: &Path) -> Self {
        Self { path: root.join(JOBS), known: OnceLock::new() }
    }

    /// Whether this process has found the folder.
    pub fn is_open(&self) -> bool {
        self.known.get().is_some()
    }

    /// Makes the folder, unless it is there.
    pub fn make(&self) -> io::Result<()> {
        make_private(&self.path)
    }

    /// Whether the folder is there, and the one that this process found at first. Gives it a marker if it has none and
    /// this process has not found one before.
    pub fn is_there(&self) -> io::Result<bool> {
        let mut found = self.read()?;
        if found.is_none() && !self.is_open() && if_present(fs::metadata(&self.path))?.is_some() {
            self.mark()?;
            found = self.read()?;
        }
        Ok(found.is_some_and(|found| *self.known.get_or_init(|| found.clone()) == found))
    }

    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        if_present(fs::read(self.path.join(MARKER)))
    }

    /// Writes a marker, unless another process has just done so.
    fn mark(&self) -> io::Result<()> {
        let marker = self.path.join(MARKER);
        let aside = write_aside(&marker, |file| {
            writeln!(file, "{}", Uuid::now_v7())?;
            file.sync_all()
        })?;
        let linked = fs::hard_link(&aside, &marker).or_else(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                return Ok(());
            }
            // This file system has no links.
            fs::rename(&aside, &marker)
        });
        // After a rename, it is not there any more.
        let _ = fs::remove_file(&aside);
        linked.and_then(|()| File::open(&self.path)?.sync_all())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_again_by_its_marker() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let (one, other) = (JobsFolder::new(root.path()), JobsFolder::new(root.path()));
        assert!(!one.is_there().unwrap() && !one.is_open(), "a look makes no folder");
        one.make().unwrap();
        assert!(one.is_there().unwrap() && other.is_there().unwrap());
        let names: Vec<_> = fs::read_dir(at(JOBS)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [MARKER]);

        fs::rename(at(JOBS), at("away")).unwrap();
        assert!(!one.is_there().unwrap());
        fs::create_dir(at(JOBS)).unwrap();
        assert!(!one.is_there().unwrap() && fs::read_dir(at(JOBS)).unwrap().next().is_none());
        // A process that starts now takes the empty folder for its own, and confuses no other.
        assert!(JobsFolder::new(root.path()).is_there().unwrap());
        assert!(!one.is_there().unwrap() && !other.is_there().unwrap());
        fs::remove_dir_all(at(JOBS)).unwrap();
        fs::rename(at("away"), at(JOBS)).unwrap();
        assert!(one.is_there().unwrap() && other.is_there().unwrap());
    }
}
