//! The folders in which conversions run: one for each process, and in it one for each conversion.
//!
//! ```text
//! <base>/
//!   lock                     held while a folder below is made or checked
//!   engine-<hash>/           the engine's package (`local::python_package`)
//!     lock                   shared by the processes that use it
//!   run-<uuid>/              one per process
//!     lock                   held (flock) as long as the process lives
//!     <uuid>/                one per conversion
//!       upload-<number>      an uploaded file, until intake has prepared it
//!       {in,out,tmp}/        the model, the result, and scratch: what a child sees
//! ```
//!
//! A killed process leaves its run folder behind, unlocked. The next process that opens the same base removes the
//! folder and kills the processes that its conversions left running (`orphans`).

use std::fs::{self, DirBuilder, DirEntry, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;
use uuid::Uuid;

use super::orphans;
use crate::fs::open::{if_present, make_private, try_folder};
use crate::fs::remove_tree::remove_tree;

const LOCK: &str = "lock";
const RUN_PREFIX: &str = "run-";

/// The run folder of this process. Clones share the folder; dropping the last one removes it.
#[derive(Debug, Clone)]
pub struct WorkDir(Arc<RunFolder>);

#[derive(Debug)]
struct RunFolder {
    base: PathBuf,
    folder: PathBuf,
    /// The lock file, whose lock tells other processes that this one is alive.
    _lock: File,
}

impl WorkDir {
    /// Makes a run folder below `base`, which is made if missing. Removes the run folders of dead processes and kills
    /// what their conversions left running.
    pub fn open(base: &Path) -> io::Result<WorkDir> {
        make_private(base)?;
        let base = base.canonicalize()?;
        check_owner(&base.metadata()?)?;
        // Until the new run folder is locked, another process would take it for an abandoned one.
        let gate = open_lock(&base)?;
        gate.lock()?;
        let abandoned: Vec<_> = unlocked(&base, is_run)?.collect::<io::Result<_>>()?;
        let folder = base.join(format!("{RUN_PREFIX}{}", Uuid::now_v7().simple()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let lock = open_lock(&folder)?;
        lock.lock()?;
        drop(gate);
        // `abandoned` has taken the locks. Yet another process that starts now may make a lock file in a folder that
        // has lost its own already; then both remove that folder.
        for (path, lock) in abandoned {
            orphans::kill_orphans_in(&path);
            match remove_tree(&path) {
                Ok(()) => {
                    tracing::info!(path = %path.display(), "removed the work folder of a killed process");
                }
                // Another process removes it, too.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {}
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "could not remove an abandoned work folder");
                }
            }
            drop(lock);
        }
        Ok(WorkDir(Arc::new(RunFolder { base, folder, _lock: lock })))
    }

    /// Returns the error that [`WorkDir::open`] would return, without making anything.
    pub fn check(base: &Path) -> io::Result<()> {
        if let Some(data) = if_present(base.metadata())? {
            check_owner(&data)?;
        }
        try_folder(base)
    }

    /// The folder that processes share.
    pub fn base(&self) -> &Path {
        &self.0.base
    }

    /// This process's own folder.
    pub fn path(&self) -> &Path {
        &self.0.folder
    }

    /// Names the folder of a new conversion without making it: small conversions need none, and making and removing a
    /// folder takes time.
    pub fn new_folder(&self) -> ConversionFolder {
        let path = self.0.folder.join(Uuid::now_v7().simple().to_string());
        ConversionFolder(Arc::new(Folder { path, run: self.clone() }))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        remove(&self.folder, "the work folder");
    }
}

/// The folder of one conversion. Clones share the folder; dropping the last one removes it, so a child that is still
/// exiting keeps it.
#[derive(Debug, Clone)]
pub struct ConversionFolder(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    run: WorkDir,
}

impl ConversionFolder {
    /// The absolute path.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Makes `in/`, `out/` and `tmp/` if they are missing.
    pub fn create_subfolders(&self) -> io::Result<()> {
        [self.input(), self.output(), self.scratch()].iter().try_for_each(|part| make_private(part))
    }

    /// Makes a new file for uploaded file `number`, outside the folders that the engine sees.
    pub fn upload(&self, number: usize) -> io::Result<(PathBuf, File)> {
        make_private(&self.0.path)?;
        let path = self.0.path.join(format!("upload-{number}"));
        let file = File::create_new(&path)?;
        Ok((path, file))
    }

    /// `in/`: the model.
    pub fn input(&self) -> PathBuf {
        self.0.path.join("in")
    }

    /// Removes the model and the scratch folder; only the result is still needed.
    pub fn remove_all_but_result(&self) {
        for part in [self.input(), self.scratch()] {
            remove(&part, "a part of a conversion's folder");
        }
    }

    /// `out/`: the result.
    pub fn output(&self) -> PathBuf {
        self.0.path.join("out")
    }

    /// `tmp/`: scratch.
    pub fn scratch(&self) -> PathBuf {
        self.0.path.join("tmp")
    }
}

impl Drop for Folder {
    /// Removes the folder on a blocking thread: thousands of files would keep an async thread busy for seconds. The run
    /// folder stays until that is done.
    fn drop(&mut self) {
        if !self.path.exists() {
            return;
        }
        let (path, run) = (self.path.clone(), self.run.clone());
        let remove = move || {
            remove(&path, "a conversion's folder");
            drop(run);
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// Refuses a folder of another user, who may have made it first in a world-writable place.
fn check_owner(base: &Metadata) -> io::Result<()> {
    if base.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::PermissionDenied, "it belongs to another user"))
}

/// Removes a folder, if it is there; `what` names it in the log.
fn remove(path: &Path, what: &str) {
    if let Err(error) = if_present(remove_tree(path)) {
        tracing::warn!(path = %path.display(), %error, "could not remove {what}");
    }
}

/// Opens the lock file of a folder; makes it if missing.
pub(super) fn open_lock(folder: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(LOCK))
}

/// Whether the name is exactly that of a run folder. Folders with similar names are a user's own.
fn is_run(name: &str) -> bool {
    let Some(number) = name.strip_prefix(RUN_PREFIX) else { return false };
    let uuid = Uuid::try_parse(number).ok().filter(|uuid| uuid.get_version_num() == 7);
    uuid.is_some_and(|uuid| uuid.simple().to_string() == number)
}

/// Returns the folders below `base` that have such a name and are used by no living process, with their locks taken.
pub(super) fn unlocked(
    base: &Path,
    has_name: fn(&str) -> bool,
) -> io::Result<impl Iterator<Item = io::Result<(PathBuf, File)>>> {
    let take = move |entry: io::Result<DirEntry>| -> io::Result<Option<_>> {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(has_name) || !entry.file_type()?.is_dir() {
            return Ok(None);
        }
        // A missing lock file means that the process died before making it; opening makes it. A missing folder was
        // removed by another process a moment ago.
        let Some(lock) = if_present(open_lock(&entry.path()))? else { return Ok(None) };
        match lock.try_lock() {
            Ok(()) => Ok(Some((entry.path(), lock))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    };
    Ok(fs::read_dir(base)?.filter_map(move |entry| take(entry).transpose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_folders(base: &Path) -> usize {
        let names = fs::read_dir(base).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with(RUN_PREFIX)).count()
    }

    #[test]
    fn a_folder_is_removed_with_its_last_handle() {
        let base = tempfile::tempdir().unwrap();
        let work = WorkDir::open(base.path()).unwrap();
        let folder = work.new_folder();
        folder.create_subfolders().unwrap();
        let also = folder.clone();
        assert!(folder.input().is_dir() && folder.output().is_dir() && folder.scratch().is_dir());
        let path = folder.path().to_owned();
        drop(folder);
        assert!(path.is_dir());
        drop(work);
        assert!(path.is_dir());
        drop(also);
        assert!(!path.exists());
        assert_eq!(run_folders(base.path()), 0);
    }

    #[test]
    fn only_abandoned_folders_are_removed() {
        let base = tempfile::tempdir().unwrap();
        let alive = WorkDir::open(base.path()).unwrap();
        let folder = alive.new_folder();
        folder.create_subfolders().unwrap();
        fs::write(folder.input().join("cube.obj"), "v 0 0 0").unwrap();
        // Run folders of killed processes: unlocked, with or without a lock file.
        let left = [(); 2].map(|()| base.path().join(format!("run-{}", Uuid::now_v7().simple())));
        for folder in &left {
            fs::create_dir_all(folder.join("conversion/in")).unwrap();
        }
        fs::write(left[0].join(LOCK), "").unwrap();
        fs::create_dir(base.path().join("engine-1")).unwrap();

        let other = WorkDir::open(base.path()).unwrap();
        assert_eq!(run_folders(base.path()), 2);
        assert!(left.iter().all(|folder| !folder.exists()));
        assert!(folder.input().join("cube.obj").is_file());
        assert!(base.path().join("engine-1").is_dir());
        drop(other);
    }

    #[test]
    fn folders_with_similar_names_are_not_removed() {
        let base = tempfile::tempdir().unwrap();
        let number = Uuid::now_v7();
        let names = [
            "run-mine".to_owned(),
            "run-".to_owned(),
            "run-1".to_owned(),
            format!("run-{}", Uuid::nil().simple()),
            format!("run-{number}"),
            format!("run-{:X}", number.simple()),
            format!("run-{}-old", number.simple()),
            format!("my-run-{}", number.simple()),
        ];
        for name in &names {
            fs::create_dir(base.path().join(name)).unwrap();
            fs::write(base.path().join(name).join("file"), "").unwrap();
        }
        drop(WorkDir::open(base.path()).unwrap());
        for name in &names {
            let inside: Vec<_> = fs::read_dir(base.path().join(name)).unwrap().collect();
            assert_eq!(inside.len(), 1, "{name}");
            assert!(base.path().join(name).join("file").is_file(), "{name}");
        }
    }
}
