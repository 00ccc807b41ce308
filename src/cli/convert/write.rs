//! Writes results to their destination: under temporary names first, then renamed, all files or none.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use tempfile::{PathPersistError, TempPath};

use super::plan::Output;
use super::sidecars::{Library, are_equal};
use crate::domain::{Cancel, ConversionError, ErrorCode};
use crate::fs::zip::zip_files;

/// Bytes copied between two checks for an interrupt.
const CHUNK: u64 = 16 << 20;

/// Copies all of `from`, unless the user interrupts the run.
fn copy(from: &mut impl Read, to: &mut impl Write, interrupt: &Cancel) -> io::Result<()> {
    loop {
        interrupt.check().map_err(io::Error::other)?;
        // The system can copy between files; a `Cancel::reader` would prevent that.
        if io::copy(&mut from.take(CHUNK), to)? == 0 {
            return to.flush();
        }
    }
}

/// Fails early if the destination exists, so that nothing is converted in vain.
///
/// # Errors
/// `output_exists`.
pub fn check_free(output: &Output, force: bool) -> Result<(), ConversionError> {
    output.path().filter(|_| !force).map_or(Ok(()), free)
}

fn free(path: &Path) -> Result<(), ConversionError> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(exists(format!("{} exists; --force replaces it", path.display())))
}

fn exists(detail: String) -> ConversionError {
    ConversionError::new(ErrorCode::OutputExists, detail)
}

/// Writes the result's `files` (the main one first) to `output`. Returns the files written, and those that were there
/// with equal content.
///
/// # Errors
/// `output_exists`, `disk_full`, `io`; then no file is left behind.
pub fn write_files(
    files: &[PathBuf],
    output: &Output,
    force: bool,
    interrupt: &Cancel,
) -> Result<Vec<PathBuf>, ConversionError> {
    let failed = |error: io::Error| ConversionError::io("write the result", &error);
    if files.is_empty() {
        return Err(ConversionError::new(ErrorCode::Internal, "the result has no file"));
    }
    let Some(out) = output.path() else {
        let mut file = match files {
            [file] => File::open(file).map_err(failed)?,
            _ => zipped(files, interrupt)?,
        };
        copy(&mut file, &mut io::stdout().lock(), interrupt).map_err(failed)?;
        return Ok(Vec::new());
    };
    let library = Library::of(files, output);
    let layout = layout(files, out, output, library.as_ref());
    for (_, target) in &layout {
        refuse_links(parent(target), parent(out))?;
    }
    // If the main file exists, the files beside it are an earlier result of this model.
    let again = layout.first().is_some_and(|(_, target)| target.symlink_metadata().is_ok());
    let mut placing = StagedFiles::new(force);
    let mut kept = Vec::new();
    for (index, (source, target)) in layout.into_iter().enumerate() {
        if index > 0 && target.is_file() {
            if are_equal(source, &target).map_err(failed)? {
                kept.push(target);
                continue;
            }
            if let Output::File(main) = output
                && !again
                && target.with_extension("") != main.with_extension("")
            {
                return Err(exists(format!(
                    "{} exists, differs, and may belong to another model; use another folder",
                    target.display()
                )));
            }
        }
        placing.stage(&target, |file| {
            let mut source = BufReader::new(File::open(source)?);
            if let Some(library) = library.as_ref().filter(|_| index == 0) {
                library.copy_head(&mut source, file)?;
            }
            copy(&mut source, file, interrupt)
        })?;
    }
    let mut written = placing.commit()?;
    written.extend(kept);
    Ok(written)
}

/// Writes several files as a zip to a temporary file, because standard output cannot seek.
fn zipped(files: &[PathBuf], interrupt: &Cancel) -> Result<File, ConversionError> {
    let failed = |error| ConversionError::io("write the zip", &error);
    let mut zip = tempfile::tempfile().map_err(failed)?;
    let named = named(files).map(|(file, name)| (file.clone(), name.to_string_lossy().into_owned()));
    zip_files(&named.collect::<Vec<_>>(), &mut zip, || interrupt.check())?;
    zip.rewind().map_err(failed)?;
    Ok(zip)
}

/// The files, each with its name relative to the folder of the main one.
fn named(files: &[PathBuf]) -> impl Iterator<Item = (&PathBuf, &Path)> {
    let base = files.first().map_or(Path::new(""), |main| parent(main));
    files.iter().map(move |file| {
        let name = file.strip_prefix(base).ok().or_else(|| file.file_name().map(Path::new));
        (file, name.unwrap_or(file))
    })
}

/// Refuses links among the result's folders between `own` and `inside`: they lead elsewhere, and another user may have
/// made them.
///
/// # Errors
/// `output_exists`
fn refuse_links(inside: &Path, own: &Path) -> Result<(), ConversionError> {
    let folders = inside.ancestors().take_while(|folder| folder.starts_with(own) && *folder != own);
    match folders.filter(|folder| folder.is_symlink()).last() {
        None => Ok(()),
        Some(link) => Err(exists(format!("{} is a link; remove it, or name another OUT", link.display()))),
    }
}

/// Pairs of each file and its destination; `out` is the one of a result that is one file.
fn layout<'a>(
    files: &'a [PathBuf],
    out: &Path,
    output: &Output,
    library: Option<&Library>,
) -> Vec<(&'a PathBuf, PathBuf)> {
    let (main, folder) = match output {
        Output::Tree { bundle, .. } if files.len() > 1 => {
            (bundle.join(out.file_name().unwrap_or_default()), bundle.as_path())
        }
        _ => (out.to_owned(), parent(out)),
    };
    let target = |name| folder.join(library.map_or(name, |library| library.rename(name)));
    let others = named(files).skip(1).map(|(source, name)| (source, target(name)));
    files.first().map(|source| (source, main)).into_iter().chain(others).collect()
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Files under temporary names. Without [`StagedFiles::commit`], dropping it removes them and the folders created for them.
struct StagedFiles {
    force: bool,
    /// Temporary and final path of each file.
    staged: Vec<(TempPath, PathBuf)>,
    made: Vec<PathBuf>,
}

impl StagedFiles {
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
        self.write_aside(target, fill)
            .map_err(|error| ConversionError::io(&format!("write {}", target.display()), &error))
    }

    fn write_aside(
        &mut self,
        target: &Path,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        self.make_folder(parent(target))?;
        let name = target.file_name().ok_or_else(|| io::Error::other("not a file name"))?.to_string_lossy();
        // File names are limited to 255 bytes; random letters make the name unique.
        let short: String = name.chars().take(50).collect();
        let mut aside = tempfile::Builder::new()
            .prefix(&format!(".{short}.partial-"))
            // Unlike a temporary file, the result has the permissions of a new file.
            .make_in(parent(target), |path| File::create_new(path))?;
        fill(aside.as_file_mut())?;
        self.staged.push((aside.into_temp_path(), target.to_owned()));
        Ok(())
    }

    fn make_folder(&mut self, folder: &Path) -> io::Result<()> {
        if folder.as_os_str().is_empty() || folder.is_dir() {
            return Ok(());
        }
        self.make_folder(parent(folder))?;
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
        while let Some((partial, target)) = self.staged.pop() {
            let renamed =
                if self.force { partial.persist(&target) } else { partial.persist_noclobber(&target) };
            if let Err(PathPersistError { error, .. }) = renamed {
                if !self.force {
                    for target in &done {
                        let _ = fs::remove_file(target);
                    }
                }
                let failed = |what: &str| ConversionError::io(what, &error);
                return Err(match error.kind() {
                    io::ErrorKind::AlreadyExists => {
                        free(&target).err().unwrap_or_else(|| failed("write the result"))
                    }
                    _ => failed(&format!("write {}", target.display())),
                });
            }
            done.push(target);
        }
        self.made.clear();
        done.reverse();
        Ok(done)
    }
}

impl Drop for StagedFiles {
    fn drop(&mut self) {
        self.staged.clear();
        for folder in self.made.iter().rev() {
            // Fails if another conversion has written a file there.
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
