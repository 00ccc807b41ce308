//! The Python side travels inside this program and is written to disk once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use include_dir::{Dir, File, include_dir};

static PACKAGE: Dir = include_dir!("$CARGO_MANIFEST_DIR/blender/meshgate_engine");

const NAME: &str = "meshgate_engine";

/// Writes the package below `base` unless it is there, and returns the folder to put on Python's path:
/// `<base>/engine-<hash of the contents>`, which holds `meshgate_engine/`.
///
/// It appears whole, by rename, so that processes that start at the same time do not read half of it.
///
/// # Errors
/// What the file system says.
pub fn unpack(base: &Path) -> io::Result<PathBuf> {
    let files = sources(&PACKAGE);
    let folder = base.join(format!("engine-{}", hash(&files)));
    if folder.is_dir() {
        return Ok(folder);
    }
    let aside = tempfile::Builder::new().prefix("engine-new-").tempdir_in(base)?;
    for file in &files {
        let path = aside.path().join(NAME).join(file.path());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, file.contents())?;
    }
    match fs::rename(aside.path(), &folder) {
        Ok(()) => {
            // It has moved: there is nothing left to clean up.
            let _ = aside.keep();
            Ok(folder)
        }
        // Another process was faster, with the same contents.
        Err(_) if folder.is_dir() => Ok(folder),
        Err(error) => Err(error),
    }
}

/// The package's own files in a fixed order; what Python leaves beside them does not count.
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
    hasher.finalize().to_hex().chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_once_even_by_many() {
        let base = tempfile::tempdir().unwrap();
        let folders: Vec<PathBuf> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8).map(|_| scope.spawn(|| unpack(base.path()).unwrap())).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert!(folders.iter().all(|folder| folder == &folders[0]));
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
        let written = fs::read(folders[0].join(NAME).join("protocol.py")).unwrap();
        assert_eq!(written, include_bytes!("../../../blender/meshgate_engine/protocol.py"));
    }

    #[test]
    fn compiled_files_are_left_out() {
        let files = sources(&PACKAGE);
        assert!(files.iter().any(|file| file.path() == Path::new("__init__.py")));
        assert!(files.iter().all(|file| !file.path().to_string_lossy().contains("__pycache__")));
    }
}
