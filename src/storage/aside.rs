//! Files that are written or linked beside their target, so that the target appears whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD};

/// Creates a file beside the target under the first free name. The first name is taken while another task stores the
/// same object, or after one was killed doing so. `keys::Name` knows these names.
fn create_aside<T>(target: &Path, create: impl Fn(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
    for number in 1u32.. {
        let mut name = target.as_os_str().to_owned();
        name.push(format!("#{number}"));
        let path = PathBuf::from(name);
        match create(&path) {
            Ok(created) => return Ok((path, created)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Links the open file itself: its name may have been removed or replaced.
pub fn link_aside(file: &File, target: &Path) -> io::Result<PathBuf> {
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = |path: &Path| Ok(rustix::fs::linkat(CWD, &open, CWD, path, AtFlags::SYMLINK_FOLLOW)?);
    create_aside(target, link).map(|(path, ())| path)
}

/// Writes a file beside the target, under the name that it returns.
pub fn write_aside(target: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<PathBuf> {
    let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
    let (path, mut file) = create_aside(target, create)?;
    write(&mut file).inspect_err(|_| drop(fs::remove_file(&path)))?;
    Ok(path)
}
