//! Opens files and folders that others may change at the same time.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags};

/// Returns `None` for the error of a missing file or folder.
pub fn if_present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Makes a folder that only this user can read; an existing folder is left as it is.
pub fn make_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes such a folder below one that must be there.
pub fn make_private_below(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Checks whether the folder could be made or written to; a full disk is no error. Leaves nothing behind, because a
/// folder made by one user may be closed to the user that needs it later.
pub fn try_folder(folder: &Path) -> io::Result<()> {
    let there = folder.ancestors().find(|folder| folder.symlink_metadata().is_ok());
    match tempfile::tempfile_in(there.unwrap_or(Path::new("."))) {
        Err(error) if !matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// Checks the same for a file to append to.
pub fn try_file(path: &Path) -> io::Result<()> {
    if path.symlink_metadata().is_err() {
        return try_folder(folder_of(path));
    }
    let appended = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, appended, Mode::empty()).map(drop)?)
}

/// Opens the regular file at `path`, following links. Refuses anything else, with `InvalidInput`: a pipe or a device
/// may never end.
pub fn regular(path: &Path) -> io::Result<File> {
    only_regular(rustix::fs::open(path, FILE, Mode::empty())?)
}

/// An open folder below which no link is followed: each part of a path may be replaced between a check and the opening.
#[derive(Debug)]
pub struct Root(OwnedFd);

const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Root {
    /// Opens the folder, which may be reached by links.
    pub fn open(folder: &Path) -> io::Result<Root> {
        Ok(Root(rustix::fs::openat(CWD, folder, FOLDER, Mode::empty())?))
    }

    /// Opens the regular file at `relative`. Anything else, and a file outside the folder, is `InvalidInput`.
    pub fn file(&self, relative: &Path) -> io::Result<File> {
        let outside = || io::Error::new(ErrorKind::InvalidInput, "it lies outside the folder");
        let mut parts = relative.components().map(|part| match part {
            Component::Normal(name) => Ok(name),
            _ => Err(outside()),
        });
        let mut name = parts.next().ok_or_else(outside)??;
        let mut above: Option<OwnedFd> = None;
        for next in parts {
            let here = above.as_ref().unwrap_or(&self.0);
            above = Some(rustix::fs::openat(here, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?);
            name = next?;
        }
        let here = above.as_ref().unwrap_or(&self.0);
        only_regular(rustix::fs::openat(here, name, FILE | OFlags::NOFOLLOW, Mode::empty())?)
    }
}

/// A small file in memory: making and removing a file on disk takes time.
#[derive(Debug, Clone)]
pub struct Memory(Arc<File>);

impl Memory {
    pub fn new() -> io::Result<Memory> {
        let made = rustix::fs::memfd_create(c"meshgate", MemfdFlags::CLOEXEC)?;
        Ok(Memory(Arc::new(File::from(made))))
    }

    /// Returns a path that is valid in this process as long as the file is held.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// Opens the file again, with its own position.
    pub fn open(&self) -> io::Result<File> {
        File::open(self.path())
    }

    /// Returns the handle to write with.
    pub fn file(&self) -> &File {
        &self.0
    }
}

/// A file in memory or below an open folder, from which it is opened each time.
#[derive(Debug, Clone)]
pub enum Located {
    Below(Arc<Root>, PathBuf),
    Memory(Memory),
}

impl Located {
    pub fn new(root: &Arc<Root>, relative: PathBuf) -> Located {
        Located::Below(Arc::clone(root), relative)
    }

    /// Locates the file at `path`. Its folder may be reached by links; the file itself must be no link.
    pub fn at(path: &Path) -> io::Result<Located> {
        let no_name = || io::Error::new(ErrorKind::InvalidInput, "it is not a file");
        let name = path.file_name().ok_or_else(no_name)?;
        Ok(Located::Below(Arc::new(Root::open(folder_of(path))?), name.into()))
    }

    /// The folder below which the file lies, unless it is in memory.
    pub fn root(&self) -> Option<&Arc<Root>> {
        match self {
            Located::Below(root, _) => Some(root),
            Located::Memory(_) => None,
        }
    }

    /// The path below the folder.
    pub fn relative(&self) -> &Path {
        match self {
            Located::Below(_, relative) => relative,
            Located::Memory(_) => Path::new(""),
        }
    }

    pub fn open(&self) -> io::Result<File> {
        match self {
            Located::Below(root, relative) => root.file(relative),
            Located::Memory(memory) => memory.open(),
        }
    }
}

impl From<Memory> for Located {
    fn from(memory: Memory) -> Located {
        Located::Memory(memory)
    }
}

/// Two are equal when they are the same path below the same opened folder, or the same memory.
impl PartialEq for Located {
    fn eq(&self, other: &Located) -> bool {
        match (self, other) {
            (Located::Below(root, relative), Located::Below(other_root, other)) => {
                Arc::ptr_eq(root, other_root) && relative == other
            }
            (Located::Memory(memory), Located::Memory(other)) => Arc::ptr_eq(&memory.0, &other.0),
            _ => false,
        }
    }
}

impl Eq for Located {}

/// The folder that `path` lies in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn only_regular(opened: OwnedFd) -> io::Result<File> {
    let file = File::from(opened);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn checking_for_write_access_creates_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::write(at("file"), "text").unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        for there in ["", "new", "new/and/below"] {
            try_folder(&at(there)).unwrap();
        }
        try_file(&at("file")).unwrap();
        try_file(&at("new/file")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(fs::read(at("file")).unwrap(), b"text");
        for closed in ["file", "file/below", "file/far/below", "dangling"] {
            assert!(try_folder(&at(closed)).is_err(), "{closed}");
        }
        for closed in ["", "file/below"] {
            assert!(try_file(&at(closed)).is_err(), "{closed}");
        }
        // Where nobody can make a file, not even root.
        assert!(try_folder(Path::new("/proc/meshgate/work")).is_err());
    }

    #[test]
    fn links_and_outside_paths_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("root/sub")).unwrap();
        fs::write(at("root/sub/file"), "inside").unwrap();
        fs::write(at("file"), "outside").unwrap();
        symlink(at("root"), at("link")).unwrap();
        symlink("sub", at("root/inner")).unwrap();
        symlink("sub/file", at("root/last")).unwrap();
        rustix::fs::mknodat(CWD, at("root/pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();

        let root = Root::open(&at("link")).unwrap();
        let mut text = String::new();
        root.file(Path::new("sub/file")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "inside");
        let absolute = at("file");
        for refused in ["inner/file", "last", "pipe", "sub", "../file", "sub/../../file", "", "none/file"]
            .map(Path::new)
            .into_iter()
            .chain([absolute.as_path()])
        {
            assert!(root.file(refused).is_err(), "{}", refused.display());
        }
        assert!(regular(&at("root/last")).is_ok() && regular(&at("root/pipe")).is_err());
    }
}
