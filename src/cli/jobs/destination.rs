//! Where a result goes: into a file, into a folder under the name that the server gives it, or to standard output.

use std::fs::{self, File};
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use uuid::Uuid;

use super::api::Api;
use super::download::download;
use crate::cli::failure::Failure;
use crate::cli::progress::Bar;

/// Where a result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    place: Place,
    /// Whether an existing file is replaced.
    force: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Folder(PathBuf),
    File(PathBuf),
    Stdout,
}

/// A result that was written.
#[derive(Debug)]
pub struct Saved {
    /// `None`: standard output.
    pub path: Option<PathBuf>,
    pub bytes: u64,
}

impl Destination {
    /// The destination that `-o` names; without it, the current folder.
    pub fn new(output: Option<&Path>, force: bool) -> Self {
        let place = match output {
            None => Place::Folder(PathBuf::new()),
            Some(path) if path == Path::new("-") => Place::Stdout,
            Some(path) if path.is_dir() || ends_with_slash(path) => Place::Folder(path.to_owned()),
            Some(path) => Place::File(path.to_owned()),
        };
        Self { place, force }
    }

    pub fn is_stdout(&self) -> bool {
        self.place == Place::Stdout
    }

    /// Fails early if the file exists, so that nothing is done in vain.
    ///
    /// # Errors
    /// The file exists.
    pub fn check_free(&self) -> Result<(), Failure> {
        match &self.place {
            Place::File(path) => self.check(path),
            Place::Folder(_) | Place::Stdout => Ok(()),
        }
    }

    fn check(&self, path: &Path) -> Result<(), Failure> {
        if self.force || path.symlink_metadata().is_err() { Ok(()) } else { Err(exists(path)) }
    }

    /// Downloads the result of a job. A file appears complete or not at all.
    ///
    /// # Errors
    /// Those of [`download`]; the file exists or cannot be written.
    pub async fn save(&self, api: &Api, id: Uuid, bar: &Bar) -> Result<Saved, Failure> {
        let folder = match &self.place {
            Place::Stdout => return print(api, id, bar).await,
            Place::Folder(folder) => folder.as_path(),
            Place::File(path) => path.parent().unwrap_or(Path::new("")),
        };
        let target = |name: &str| match &self.place {
            Place::File(path) => path.clone(),
            _ => folder.join(name),
        };
        let mut aside = write_aside(folder).map_err(Failure::io("write the result"))?;
        let begin = |name: &str| self.check(&target(name));
        let (name, bytes) = download(api, id, aside.as_file_mut(), bar, begin).await?;
        let target = target(&name);
        let aside = aside.into_temp_path();
        let renamed = if self.force { aside.persist(&target) } else { aside.persist_noclobber(&target) };
        renamed.map_err(|failed| match failed.error.kind() {
            io::ErrorKind::AlreadyExists => exists(&target),
            _ => Failure::io(format!("write {}", target.display()))(failed.error),
        })?;
        Ok(Saved { path: Some(target), bytes })
    }
}

/// Prints a result once it is complete.
async fn print(api: &Api, id: Uuid, bar: &Bar) -> Result<Saved, Failure> {
    let mut file = tempfile::tempfile().map_err(Failure::io("make a temporary file"))?;
    let (_, bytes) = download(api, id, &mut file, bar, |_| Ok(())).await?;
    let copied = file.rewind().and_then(|()| io::copy(&mut file, &mut io::stdout().lock()));
    copied.map_err(Failure::io("write to standard output"))?;
    Ok(Saved { path: None, bytes })
}

fn exists(path: &Path) -> Failure {
    Failure::Failed(format!("{} exists; --force replaces it", path.display()))
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().last() == Some(&b'/')
}

/// Makes a file with a temporary name, and the folder if it is missing. The current folder has an empty path.
fn write_aside(folder: &Path) -> io::Result<NamedTempFile<File>> {
    fs::create_dir_all(folder)?;
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    tempfile::Builder::new()
        .prefix(".meshgate-")
        .suffix(".partial")
        // Unlike a temporary file, the result has the permissions of a new file.
        .make_in(here, |path| File::create_new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_destination_is_a_file_a_folder_or_standard_output() {
        let folder = tempfile::tempdir().unwrap();
        let of = |path: &Path| Destination::new(Some(path), false).place;
        assert_eq!(of(folder.path()), Place::Folder(folder.path().to_owned()));
        assert_eq!(of(Path::new("not-there/")), Place::Folder("not-there/".into()));
        assert_eq!(of(Path::new("a.glb")), Place::File("a.glb".into()));
        assert_eq!(of(Path::new("-")), Place::Stdout);
        assert_eq!(Destination::new(None, false).place, Place::Folder(PathBuf::new()));
    }

    #[test]
    fn an_existing_file_is_found_early() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.glb");
        let check = |force| Destination::new(Some(&path), force).check_free();
        check(false).unwrap();
        // Also a link to nothing is a file that would be replaced.
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        assert!(check(false).unwrap_err().to_string().ends_with("a.glb exists; --force replaces it"));
        check(true).unwrap();
    }
}
