//! Writes results to their destination: under temporary names first, then renamed, all files or none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio_util::sync::CancellationToken;

use super::plan::Output;
use super::sidecars::{self, Library};
use crate::domain::{ConversionError, ErrorCode};
use crate::fs::zip::zip_files;

/// Bytes copied between two checks for an interrupt.
const CHUNK: u64 = 16 << 20;

/// Stops a copy when the user interrupts the run.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(pub CancellationToken);

impl Interrupt {
    /// # Errors
    /// `cancelled` after an interrupt.
    fn check(&self) -> Result<(), ConversionError> {
        if self.0.is_cancelled() {
            return Err(ConversionError::new(ErrorCode::Cancelled, "interrupted"));
        }
        Ok(())
    }

    /// Copies all of `from`.
    ///
    /// # Errors
    /// When reading or writing fails; `Interrupted` after an interrupt.
    pub fn copy(&self, from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
        loop {
            if self.0.is_cancelled() {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted"));
            }
            if io::copy(&mut from.take(CHUNK), to)? == 0 {
                return to.flush();
            }
        }
    }
}

/// Fails early if the destination exists, so that nothing is converted in vain.
///
/// # Errors
/// `output_exists`.
pub fn check_free(output: &Output, force: bool) -> Result<(), ConversionError> {
    match output {
        _ if force => Ok(()),
        Output::Stdout => Ok(()),
        Output::File(path) | Output::Zip(path) | Output::Tree { file: path, .. } => free(path),
    }
}

fn free(path: &Path) -> Result<(), ConversionError> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(ConversionError::new(
        ErrorCode::OutputExists,
        format!("{} exists; --force replaces it", path.display()),
    ))
}

/// Writes the result's `files` (the main one first) to `output`. Returns the files written, and those that were there
/// with equal content.
///
/// # Errors
/// `output_exists`, `disk_full`, `io`; then no file is left behind.
pub fn place(
    files: &[PathBuf],
    output: &Output,
    force: bool,
    interrupt: &Interrupt,
) -> Result<Vec<PathBuf>, ConversionError> {
    let failed = |error: io::Error| ConversionError::io("write the result", &error);
    let main =
        files.first().ok_or_else(|| ConversionError::new(ErrorCode::Internal, "the result has no file"))?;
    if *output == Output::Stdout {
        let mut file = if files.len() == 1 { File::open(main) } else { Ok(zipped(files, main, interrupt)?) }
            .map_err(failed)?;
        interrupt.copy(&mut file, &mut io::stdout().lock()).map_err(failed)?;
        return Ok(Vec::new());
    }
    let library = Library::of(files, main, output);
    let layout = layout(files, main, output, library.as_ref());
    for (_, target) in &layout {
        refuse_links(target, output)?;
    }
    // If the main file exists, the files beside it are an earlier result of this model.
    let again = layout.first().is_some_and(|(_, target)| target.symlink_metadata().is_ok());
    let mut placing = Placing::new(force);
    let mut kept = Vec::new();
    for (index, (source, target)) in layout.into_iter().enumerate() {
        if index > 0 && target.is_file() {
            if sidecars::are_equal(&source, &target).map_err(failed)? {
                kept.push(target);
                continue;
            }
            if let Output::File(main) = output
                && !again
                && target.with_extension("") != main.with_extension("")
            {
                return Err(sidecars::foreign(&target));
            }
        }
        placing.stage(&target, |file| {
            let mut source = File::open(&source)?;
            let Some(library) = library.as_ref().filter(|_| index == 0) else {
                return interrupt.copy(&mut source, file);
            };
            let mut source = BufReader::new(source);
            library.copy_head(&mut source, file)?;
            interrupt.copy(&mut source, file)
        })?;
    }
    let mut written = placing.commit()?;
    written.extend(kept);
    Ok(written)
}

/// Writes several files as a zip to a temporary file, because standard output cannot seek.
fn zipped(files: &[PathBuf], main: &Path, interrupt: &Interrupt) -> Result<File, ConversionError> {
    let failed = |error| ConversionError::io("write the zip", &error);
    let mut zip = tempfile::tempfile().map_err(failed)?;
    let named: Vec<_> = named(files, main)
        .into_iter()
        .map(|(file, name)| (file, name.to_string_lossy().into_owned()))
        .collect();
    zip_files(&named, &mut zip, || interrupt.check())?;
    zip.rewind().map_err(failed)?;
    Ok(zip)
}

/// The files, each with its name relative to the main file's folder.
fn named(files: &[PathBuf], main: &Path) -> Vec<(PathBuf, PathBuf)> {
    let base = main.parent().unwrap_or(main);
    files
        .iter()
        .map(|file| {
            let name =
                file.strip_prefix(base).ok().or_else(|| file.file_name().map(Path::new)).unwrap_or(file);
            (file.clone(), name.to_owned())
        })
        .collect()
}

/// Refuses links among the folders of the result: they lead elsewhere, and another user may have made them.
///
/// # Errors
/// `output_exists`
fn refuse_links(target: &Path, output: &Output) -> Result<(), ConversionError> {
    let own = match output {
        Output::Stdout => return Ok(()),
        Output::File(path) | Output::Zip(path) | Output::Tree { file: path, .. } => parent(path),
    };
    let inside = parent(target);
    let mut folder = own.clone();
    for part in inside.strip_prefix(&own).unwrap_or(Path::new("")) {
        folder.push(part);
        if folder.is_symlink() {
            let detail = format!("{} is a link; remove it, or name another OUT", folder.display());
            return Err(ConversionError::new(ErrorCode::OutputExists, detail));
        }
    }
    Ok(())
}

/// Pairs of each file and its destination.
fn layout(
    files: &[PathBuf],
    main: &Path,
    output: &Output,
    library: Option<&Library>,
) -> Vec<(PathBuf, PathBuf)> {
    let (main_target, folder) = match output {
        Output::Stdout => return Vec::new(),
        Output::File(path) | Output::Zip(path) => (path.clone(), parent(path)),
        Output::Tree { file, .. } if files.len() == 1 => (file.clone(), parent(file)),
        Output::Tree { file, bundle } => (bundle.join(file.file_name().unwrap_or_default()), bundle.clone()),
    };
    named(files, main)
        .into_iter()
        .enumerate()
        .map(|(index, (source, name))| {
            let target = match library {
                _ if index == 0 => main_target.clone(),
                Some(library) => folder.join(library.rename(name)),
                None => folder.join(name),
            };
            (source, target)
        })
        .collect()
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// Files under temporary names. Without [`Placing::commit`], dropping it removes them and the folders created for them.
struct Placing {
    force: bool,
    /// Temporary and final path of each file.
    staged: Vec<(PathBuf, PathBuf)>,
    made: Vec<PathBuf>,
}

impl Placing {
    fn new(force: bool) -> Self {
        Self { force, staged: Vec::new(), made: Vec::new() }
    }

    fn stage(
        &mut self,
        target: &Path,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), ConversionError> {
        if !self.force {
            free(target)?;
        }
        self.write_aside(target, fill).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => ConversionError::new(ErrorCode::Cancelled, "interrupted"),
            _ => ConversionError::io(&format!("write {}", target.display()), &error),
        })
    }

    fn write_aside(
        &mut self,
        target: &Path,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let folder = parent(target);
        self.make_folder(&folder)?;
        let name = target.file_name().ok_or_else(|| io::Error::other("not a file name"))?.to_string_lossy();
        // File names are limited to 255 bytes; the UUID alone makes the name unique.
        let short: String = name.chars().take(50).collect();
        let partial = folder.join(format!(".{short}.partial-{}", uuid::Uuid::now_v7().simple()));
        let mut aside = OpenOptions::new().read(true).write(true).create_new(true).open(&partial)?;
        self.staged.push((partial, target.to_owned()));
        fill(&mut aside)
    }

    fn make_folder(&mut self, folder: &Path) -> io::Result<()> {
        if folder.as_os_str().is_empty() || folder.is_dir() {
            return Ok(());
        }
        self.make_folder(&parent(folder))?;
        match fs::create_dir(folder) {
            Ok(()) => self.made.push(folder.to_owned()),
            // Another conversion has created it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Renames all files to their final names. The main one, staged first, comes last, so that the others exist when it
    /// appears.
    fn commit(mut self) -> Result<Vec<PathBuf>, ConversionError> {
        let mut done: Vec<PathBuf> = Vec::new();
        for (partial, target) in self.staged.iter().rev() {
            if let Err(error) = rename(partial, target, self.force) {
                if !self.force {
                    for target in &done {
                        let _ = fs::remove_file(target);
                    }
                }
                return Err(if error.kind() == io::ErrorKind::AlreadyExists {
                    free(target).err().unwrap_or_else(|| ConversionError::io("write the result", &error))
                } else {
                    ConversionError::io(&format!("write {}", target.display()), &error)
                });
            }
            done.push(target.clone());
        }
        self.staged.clear();
        self.made.clear();
        done.reverse();
        Ok(done)
    }
}

impl Drop for Placing {
    fn drop(&mut self) {
        for (partial, _) in &self.staged {
            let _ = fs::remove_file(partial);
        }
        for folder in self.made.iter().rev() {
            // Fails if another conversion has written a file there.
            let _ = fs::remove_dir(folder);
        }
    }
}

fn rename(from: &Path, to: &Path, replace: bool) -> io::Result<()> {
    if replace {
        return fs::rename(from, to);
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // The file system lacks the flag; a hard link does not replace a file either.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            fs::hard_link(from, to).and_then(|()| fs::remove_file(from))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
