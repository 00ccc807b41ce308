//! The Python package: embedded in this program and written to disk once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use include_dir::{Dir, File, include_dir};
use tempfile::TempDir;

use crate::executor::workdir::{open_lock, unlocked};
use crate::fs::remove_tree::remove_tree;

static PACKAGE: Dir = include_dir!("$CARGO_MANIFEST_DIR/blender/meshgate_engine");

const NAME: &str = "meshgate_engine";

const PREFIX: &str = "engine-";

/// Hexadecimal digits of the hash in a folder's name.
const DIGITS: usize = 16;
/// Stands between the hash and random letters in the name of a half-written folder.
const STAGING: &str = ".new-";
/// Number of those letters.
const LETTERS: usize = 6;

/// The package on disk. It is not removed while this exists.
#[derive(Debug)]
pub struct Package {
    folder: PathBuf,
    /// A shared lock: processes of other versions do not remove a locked package.
    _lock: fs::File,
}

impl Package {
    /// The folder to put on Python's path; it holds `meshgate_engine/`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Writes the package to `<base>/engine-<hash of the contents>` unless it is there, and removes packages of other
/// versions that no process uses.
///
/// The complete folder is renamed into place, so a killed process leaves no half-written package there.
pub fn unpack(base: &Path) -> io::Result<Package> {
    let files = sources(&PACKAGE);
    let folder = base.join(format!("{PREFIX}{}", hash(&files)));
    let gate = open_lock(base)?;
    gate.lock()?;
    if !folder.is_dir() {
        write(&files, base, &folder)?;
    }
    let lock = open_lock(&folder)?;
    lock.lock_shared()?;
    if let Err(error) = remove_others(base, &folder) {
        tracing::warn!(path = %base.display(), %error, "could not remove an old version of the engine's package");
    }
    drop(gate);
    Ok(Package { folder, _lock: lock })
}

fn write(files: &[&File], base: &Path, folder: &Path) -> io::Result<()> {
    let staging = staging(base, folder)?;
    for file in files {
        let path = staging.path().join(NAME).join(file.path());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, file.contents())?;
    }
    fs::rename(staging.path(), folder)?;
    // It was renamed: nothing is left to clean up.
    let _ = staging.keep();
    Ok(())
}

/// Makes the folder that is renamed to `folder` when complete.
fn staging(base: &Path, folder: &Path) -> io::Result<TempDir> {
    let mut prefix = folder.file_name().unwrap_or_default().to_owned();
    prefix.push(STAGING);
    tempfile::Builder::new().prefix(&prefix).rand_bytes(LETTERS).tempdir_in(base)
}

/// Removes unlocked packages, half-written ones too: the caller holds the gate, so no process is writing one.
fn remove_others(base: &Path, ours: &Path) -> io::Result<()> {
    for package in unlocked(base, is_package)? {
        let (path, _lock) = package?;
        if path != ours {
            remove_tree(&path)?;
            tracing::info!(path = %path.display(), "removed an old version of the engine's package");
        }
    }
    Ok(())
}

/// Whether the name is exactly that of a package, complete or half-written. Folders with similar names are a user's
/// own.
fn is_package(name: &str) -> bool {
    let Some(name) = name.strip_prefix(PREFIX) else { return false };
    let (hash, letters) = name.split_once(STAGING).unzip();
    let is = |text: &str, length, of: fn(&u8) -> bool| text.len() == length && text.as_bytes().iter().all(of);
    is(hash.unwrap_or(name), DIGITS, |digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        && letters.is_none_or(|letters| is(letters, LETTERS, u8::is_ascii_alphanumeric))
}

/// The package's source files in a fixed order, without Python's caches.
fn sources(dir: &'static Dir) -> Vec<&'static File<'static>> {
    let mut files: Vec<_> = dir
        .files()
        .filter(|file| file.path().extension().is_some_and(|extension| extension != "pyc"))
        .collect();
    for sub in dir.dirs().filter(|sub| sub.path().file_name().is_some_and(|name| name != "__pycache__")) {
        files.extend(sources(sub));
    }
    files.sort_by_key(|file| file.path());
    files
}

fn hash(files: &[&File]) -> String {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        // Lengths keep a name apart from the contents that follow it.
        let name = file.path().as_os_str().as_encoded_bytes();
        for part in [name, file.contents()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hasher.finalize().to_hex().chars().take(DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engines(base: &Path) -> Vec<PathBuf> {
        let paths = fs::read_dir(base).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<_> = paths.filter(|path| path.is_dir()).collect();
        found.sort();
        found
    }

    #[test]
    fn concurrent_starts_write_the_package_once() {
        let base = tempfile::tempdir().unwrap();
        let packages: Vec<Package> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8).map(|_| scope.spawn(|| unpack(base.path()).unwrap())).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let folder = packages[0].folder();
        assert!(packages.iter().all(|package| package.folder() == folder));
        assert_eq!(engines(base.path()), [folder]);
        let written = fs::read(folder.join(NAME).join("runtime/protocol.py")).unwrap();
        assert_eq!(written, include_bytes!("../../../blender/meshgate_engine/runtime/protocol.py"));
    }

    #[test]
    fn other_versions_stay_while_in_use() {
        let base = tempfile::tempdir().unwrap();
        let other = |name: &str| {
            let folder = base.path().join(name);
            fs::create_dir_all(folder.join(NAME)).unwrap();
            fs::write(folder.join(NAME).join("zygote.py"), "").unwrap();
            folder
        };
        let (used, old) = (other("engine-0123456789abcde1"), other("engine-0123456789abcde2"));
        let half = other("engine-0123456789abcde3.new-a1B2c3");
        let holder = open_lock(&used).unwrap();
        holder.lock_shared().unwrap();
        // One handle is dropped and one is held: the package is in use.
        let ours = unpack(base.path()).unwrap();
        drop(unpack(base.path()).unwrap());
        assert!(ours.folder().is_dir() && used.is_dir() && !old.exists() && !half.exists());
        assert!(open_lock(ours.folder()).unwrap().try_lock().is_err());

        drop(holder);
        let again = unpack(base.path()).unwrap();
        assert_eq!(engines(base.path()), [again.folder()]);
        drop((ours, again));
        assert!(open_lock(&engines(base.path())[0]).unwrap().try_lock().is_ok());
    }

    #[test]
    fn folders_with_similar_names_are_not_removed() {
        let base = tempfile::tempdir().unwrap();
        let names = [
            "engine-mine",
            "engine-new-window",
            "engine-1",
            "engine-0123456789abcdeg",
            "engine-0123456789ABCDEF",
            "engine-0123456789abcdef0",
            "engine-0123456789abcdef.old",
            "engine-0123456789abcdef.new-a1B2c",
            "engine-0123456789abcdef.new-a1B2c.",
            "my-engine-0123456789abcdef",
        ];
        for name in names {
            fs::create_dir(base.path().join(name)).unwrap();
        }
        drop(unpack(base.path()).unwrap());
        for name in names {
            assert_eq!(fs::read_dir(base.path().join(name)).unwrap().count(), 0, "{name}");
        }
    }

    /// A half-written package is removed only if its name is recognised.
    #[test]
    fn package_and_staging_names_are_recognised() {
        let base = tempfile::tempdir().unwrap();
        let name = unpack(base.path()).unwrap().folder().file_name().unwrap().to_str().unwrap().to_owned();
        assert!(is_package(&name) && !is_package(&format!("{name}{STAGING}")), "{name}");
        let staging = staging(base.path(), &base.path().join(&name)).unwrap();
        assert!(is_package(staging.path().file_name().unwrap().to_str().unwrap()), "{staging:?}");
    }

    #[test]
    fn compiled_python_files_are_left_out() {
        let files = sources(&PACKAGE);
        assert!(files.iter().any(|file| file.path() == Path::new("__init__.py")));
        assert!(files.iter().all(|file| !file.path().to_string_lossy().contains("__pycache__")));
    }
}
