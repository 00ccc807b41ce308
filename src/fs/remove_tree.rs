//! Removes folders that a child may have filled with anything.
//!
//! The standard library's `remove_dir_all` descends by recursion with a descriptor for each level, so that a tree a
//! hundred thousand folders deep overflows the stack or the table of descriptors; and it stops at a folder whose mode
//! shuts out its owner. A child can make both.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Descriptors held at a time; deeper folders are first moved up.
const MAX_DEPTH: usize = 24;

/// Removes the folder at `path` with all that is in it. A link is removed, not followed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    match rustix::fs::unlinkat(CWD, &name, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        // The errors of Linux and POSIX for a folder.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let top = open(CWD, &name)?;
    empty(&top)?;
    Ok(rustix::fs::unlinkat(CWD, &name, AtFlags::REMOVEDIR)?)
}

/// One open folder on the way down, and its name in the one above.
struct Level {
    folder: OwnedFd,
    name: CString,
}

/// Removes all that is in `top`.
fn empty(top: &OwnedFd) -> io::Result<()> {
    let mut below: Vec<Level> = Vec::new();
    let mut moved = 0_u64;
    loop {
        let here = below.last().map_or(top, |level| &level.folder);
        let Some(name) = clear(here)? else {
            // Empty now.
            let Some(done) = below.pop() else { return Ok(()) };
            let above = below.last().map_or(top, |level| &level.folder);
            rustix::fs::unlinkat(above, &done.name, AtFlags::REMOVEDIR)?;
            continue;
        };
        if below.len() < MAX_DEPTH {
            below.push(Level { folder: open(here, &name)?, name });
            continue;
        }
        // Moving a folder changes its `..`, for which it must be writable.
        let _ = rustix::fs::chmodat(here, &name, Mode::RWXU, AtFlags::empty());
        loop {
            moved += 1;
            let free = CString::new(format!("meshgate-remove-{moved}"))?;
            match rustix::fs::renameat_with(here, &name, top, &free, rustix::fs::RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                result => break result?,
            }
        }
    }
}

/// Removes the files and empty folders in a folder; returns the name of a folder that is not empty, if there is one.
fn clear(folder: &OwnedFd) -> io::Result<Option<CString>> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let mut gone = Err(Errno::ISDIR);
        if entry.file_type() != FileType::Directory {
            gone = rustix::fs::unlinkat(folder, name, AtFlags::empty());
        }
        // Some file systems do not report the type of an entry.
        if matches!(gone, Err(Errno::ISDIR | Errno::PERM)) {
            gone = rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR);
        }
        match gone {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(Some(name.to_owned())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn open(at: impl std::os::fd::AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&at, name, flags, Mode::empty()) {
        Ok(folder) => {
            // Entries can be removed only if the folder is writable.
            let mode = Mode::from_raw_mode(rustix::fs::fstat(&folder)?.st_mode);
            if !mode.contains(Mode::RWXU) {
                rustix::fs::fchmod(&folder, Mode::RWXU)?;
            }
            Ok(folder)
        }
        // `chmod` works only on our own folders. The child, which could swap in a link, is gone.
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(&at, name, Mode::RWXU, AtFlags::empty())?;
            Ok(rustix::fs::openat(&at, name, flags, Mode::empty())?)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_very_deep_tree_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        fs::create_dir(&top).unwrap();
        let mut here = open(CWD, &CString::new(top.as_os_str().as_bytes()).unwrap()).unwrap();
        // More than a process may have descriptors, and longer than a path may be.
        for _ in 0..5000 {
            rustix::fs::mkdirat(&here, "deep", Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&here, "beside", Mode::RWXU).unwrap();
            here = open(&here, c"deep").unwrap();
        }
        drop(rustix::fs::openat(&here, "file", OFlags::CREATE, Mode::RUSR).unwrap());
        drop(here);
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        assert_eq!(remove_tree(&top).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn unreadable_folders_are_removed_without_following_links() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        let top = folder.path().join("top");
        for mode in [0o000, 0o300, 0o500, 0o600] {
            let closed = top.join(format!("closed-{mode:o}"));
            fs::create_dir_all(closed.join("inner")).unwrap();
            fs::write(closed.join("inner/file"), "").unwrap();
            symlink(&outside, closed.join("link")).unwrap();
            fs::set_permissions(closed.join("inner"), fs::Permissions::from_mode(mode)).unwrap();
            fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
        }
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        let link = folder.path().join("link");
        symlink(&outside, &link).unwrap();
        remove_tree(&link).unwrap();
        assert!(!link.is_symlink() && outside.join("kept").exists());
    }
}
