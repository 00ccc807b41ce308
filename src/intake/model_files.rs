//! The files of one model: their names, their locations, and the file that a reference means.

mod budget;
mod lookup;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use budget::MAX_NAME_BYTES;
use budget::{Budget, too_large};
pub use lookup::{Candidates, Resolved};
use walkdir::WalkDir;

use super::in_place::InPlaceFiles;
use super::source::{ModelLimits, unreadable};
use crate::context::Context;
use crate::domain::{ConversionError, ErrorCode};
use crate::fs::names;
use crate::fs::open::{Located, Root, folder_of};

/// Most files around a file of the user's own that are considered.
const MAX_SIBLINGS: usize = 4000;

/// Deepest nesting of folders, and longest path of a file in bytes: systems allow 4,096 for the absolute path.
const MAX_DEPTH: usize = 64;
const MAX_PATH: usize = 2000;

/// One file of a model.
#[derive(Debug, Clone)]
pub struct Item {
    /// Path inside the model in the sender's spelling, with `/` between components.
    pub name: String,
    /// Path inside the conversion's folder, with safe components.
    pub stored: PathBuf,
    /// The location of a file that has not been copied into the folder.
    pub outside: Option<Located>,
    /// Whether it belongs to the model; an offered file may not.
    used: bool,
    pub bytes: u64,
}

/// The files of a model and the folder that holds them.
#[derive(Debug, Default)]
pub struct Files {
    folder: PathBuf,
    limits: ModelLimits,
    context: Context,
    items: Vec<Item>,
    /// Paths that files have, each with the number for the next file that asks for it.
    taken: HashMap<PathBuf, u64>,
    by_path: HashMap<String, Vec<usize>>,
    by_base: HashMap<String, Vec<usize>>,
    /// A file of the user's own whose siblings have not been offered yet, and its folder.
    siblings_of: Option<(PathBuf, Arc<Root>)>,
    /// Whether used files stay where they are.
    stay: bool,
    /// `Some` when the main file lies outside of the folder.
    originals: Option<InPlaceFiles>,
    /// Bytes that may be unpacked to find references in compressed files.
    unpacking_left: u64,
    budget: Budget,
}

impl Files {
    /// `folder` is made together with the first file in it.
    pub fn new(folder: &Path, limits: ModelLimits, context: Context) -> Self {
        let (folder, unpacking_left) = (folder.to_owned(), limits.max_unpacked);
        Self { folder, limits, context, unpacking_left, ..Self::default() }
    }

    /// Creates an empty file for the sender's `name`, a path of harmless components.
    ///
    /// # Errors
    /// `too_large`, `invalid_archive`, `cancelled`, `io`
    pub fn create(&mut self, name: &[&str]) -> Result<(usize, File), ConversionError> {
        self.context.cancel.check()?;
        self.room_for(0)?;
        let too_long = || {
            let detail = "the model has folders nested too deeply, or too long a path";
            ConversionError::new(ErrorCode::InvalidArchive, detail)
        };
        if name.len() > MAX_DEPTH {
            return Err(too_long());
        }
        self.budget.count_name(name)?;
        let stored = self.free_path(name);
        if stored.as_os_str().len() > MAX_PATH {
            return Err(too_long());
        }
        let path = self.folder.join(&stored);
        let file = create_file(&path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => ConversionError::new(
                ErrorCode::InvalidArchive,
                format!("{} is both a file and a folder in the model", names::quoted(&name.join("/"))),
            ),
            _ => storing(error),
        })?;
        Ok((self.add(name.join("/"), stored, None, 0), file))
    }

    /// Copies an open file into the folder. After an error nothing is left of it.
    pub fn copy(&mut self, from: io::Result<File>, name: &[&str]) -> Result<usize, ConversionError> {
        let mut from = from.map_err(unreadable)?;
        let length = from.metadata().map_err(unreadable)?.len();
        self.room_for(length)?;
        self.create_with(name, |files, _, to| files.copy_within(&mut from, to))
    }

    /// Moves the conversion's own file at `source` into the folder, or copies it from another file system. After an
    /// error nothing is left of it in the folder.
    pub fn adopt(&mut self, source: &Path, name: &[&str]) -> Result<usize, ConversionError> {
        let mut from = Located::at(source).and_then(|file| file.open()).map_err(unreadable)?;
        let before = from.metadata().map_err(unreadable)?;
        self.room_for(before.len())?;
        self.create_with(name, |files, stored, to| {
            if fs::rename(source, stored).is_err() {
                return files.copy_within(&mut from, to);
            }
            let moved = stored.symlink_metadata().map_err(unreadable)?;
            if (moved.dev(), moved.ino()) != (before.dev(), before.ino()) {
                return Err(unreadable(io::Error::other("it was replaced meanwhile")));
            }
            Ok(before.len())
        })
    }

    /// Creates a file that `fill` writes, or replaces by another one; `fill` returns its size. After an error nothing
    /// is left of it.
    ///
    /// # Errors
    /// The errors of [`Files::create`] and of `fill`.
    pub fn create_with(
        &mut self,
        name: &[&str],
        fill: impl FnOnce(&Files, &Path, &mut File) -> Result<u64, ConversionError>,
    ) -> Result<usize, ConversionError> {
        let (index, mut created) = self.create(name)?;
        let path = self.folder.join(&self.items[index].stored);
        match fill(self, &path, &mut created) {
            Ok(bytes) => self.set_size(index, bytes),
            Err(error) => {
                self.forget_last();
                return Err(error);
            }
        }
        Ok(index)
    }

    /// Notes the size of a file that was written.
    pub fn set_size(&mut self, index: usize, bytes: u64) {
        self.items[index].bytes = bytes;
    }

    /// Copies the rest of a file within the limit, as the file may grow in the meantime.
    fn copy_within(&self, from: &mut File, to: &mut File) -> Result<u64, ConversionError> {
        let left = self.room_left();
        let bytes = io::copy(&mut from.by_ref().take(left), to).map_err(storing)?;
        if bytes == left && from.read(&mut [0]).map_err(storing)? > 0 {
            return Err(self.limits.too_large());
        }
        Ok(bytes)
    }

    /// The cancel flag and the memory budget of the work on this model.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Adds a file that is copied only when something refers to it.
    pub fn offer(&mut self, file: Located, name: &[&str], bytes: u64) {
        let stored = self.free_path(name);
        self.add(name.join("/"), stored, Some(file), bytes);
    }

    /// Adds the user's main file; its siblings are added by [`Files::offer_siblings`] if it refers to files.
    pub fn offer_main(&mut self, path: &Path, name: &str) -> Result<(), ConversionError> {
        let originals = InPlaceFiles::open(path).map_err(unreadable)?;
        self.offer(originals.main.clone(), &[name], 0);
        self.siblings_of = originals.folder.clone().map(|folder| (path.to_owned(), folder));
        self.originals = Some(originals);
        Ok(())
    }

    /// Adds the only file, which lies outside of the folder.
    pub fn offer_alone(&mut self, file: Located, name: &str) {
        self.offer(file.clone(), &[name], 0);
        self.originals = Some(InPlaceFiles::alone(file));
    }

    /// Adds the siblings of the main file, if it is the user's own: the files in its folder, and in two levels of
    /// folders below it, without links.
    pub fn offer_siblings(&mut self) {
        let Some((path, root)) = self.siblings_of.take() else { return };
        let folder = folder_of(&path);
        let walk = WalkDir::new(folder).min_depth(1).max_depth(3).sort_by_file_name();
        for entry in walk.into_iter().filter_map(Result::ok).take(MAX_SIBLINGS) {
            let inside = entry.path().strip_prefix(folder).unwrap_or(entry.path());
            let relative = inside.to_string_lossy();
            let parts: Vec<&str> = relative.split('/').filter(|part| !part.is_empty()).collect();
            let is_main = parts.len() == 1 && entry.path().file_name() == path.file_name();
            if entry.file_type().is_file() && !is_main && !names::is_junk(&parts) {
                let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
                self.offer(Located::new(&root, inside.to_owned()), &parts, bytes);
            }
        }
    }

    /// Sets whether files that are taken from now on stay where they are, if the main file lies outside of the folder.
    pub fn stay(&mut self, stay: bool) {
        self.stay = stay && self.originals.is_some();
    }

    /// Whether files that are taken stay where they are.
    pub fn stays(&self) -> bool {
        self.stay
    }

    /// The files that stayed where they were.
    pub fn into_originals(self) -> Option<InPlaceFiles> {
        self.originals.filter(|_| self.stay)
    }

    /// Copies all used files into the folder; they must not have changed since they were taken.
    pub fn copy_in(&mut self) -> Result<(), ConversionError> {
        if !std::mem::take(&mut self.stay) {
            return Ok(());
        }
        for index in 0..self.items.len() {
            let item = &mut self.items[index];
            if item.used && item.outside.is_some() {
                item.used = false;
                self.take(index)?;
            }
        }
        self.originals.as_ref().map_or(Ok(()), InPlaceFiles::check)
    }

    /// Makes the file at `index` part of the model and, unless files stay, copies it into the folder.
    pub fn take(&mut self, index: usize) -> Result<(), ConversionError> {
        let Item { outside: Some(file), used: false, stored, .. } = &self.items[index] else {
            return Ok(());
        };
        let copying = |error| ConversionError::io("copy a file of the model", &error);
        // The file may have changed since it was offered.
        let mut from = file.open().map_err(copying)?;
        let before = from.metadata().map_err(copying)?;
        let (file, path, mut bytes) = (file.clone(), self.folder.join(stored), before.len());
        self.room_for(bytes)?;
        if let Some(originals) = self.originals.as_mut().filter(|_| self.stay) {
            originals.add(file, &before);
        } else {
            // The path may be a hard link to another file (`references::scan`), which must not be overwritten.
            let _ = fs::remove_file(&path);
            let mut to = create_file(&path).map_err(copying)?;
            bytes = self.copy_within(&mut from, &mut to).inspect_err(|_| _ = fs::remove_file(&path))?;
            self.items[index].outside = None;
        }
        let item = &mut self.items[index];
        (item.used, item.bytes) = (true, bytes);
        Ok(())
    }

    pub fn items(&self) -> &[Item] {
        &self.items
    }

    pub fn item(&self, index: usize) -> Option<&Item> {
        self.items.get(index)
    }

    pub fn name(&self, index: usize) -> &str {
        &self.items[index].name
    }

    /// Opens the file at `index`, inside or outside of the folder.
    pub fn open(&self, index: usize) -> io::Result<File> {
        let item = &self.items[index];
        item.outside.as_ref().map_or_else(|| File::open(self.folder.join(&item.stored)), Located::open)
    }

    /// The path of the file at `index` in the folder; `None` while it lies outside.
    pub fn path(&self, index: usize) -> Option<PathBuf> {
        let item = &self.items[index];
        item.outside.is_none().then(|| self.folder.join(&item.stored))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The model's files, the main file first.
    pub fn used(&self, main: usize) -> Vec<Item> {
        let mut used: Vec<_> = self.items.iter().enumerate().filter(|(_, item)| item.used).collect();
        used.sort_by_key(|(index, _)| *index != main);
        used.into_iter().map(|(_, item)| item.clone()).collect()
    }

    /// Number and bytes of the model's files.
    pub fn totals(&self) -> (u32, u64) {
        let present = self.items.iter().filter(|item| item.used);
        present.fold((0, 0), |(files, bytes), item| (files + 1, bytes + item.bytes))
    }

    /// Checks that another file of `bytes` fits within the limits.
    ///
    /// # Errors
    /// `too_large`
    pub fn room_for(&self, bytes: u64) -> Result<(), ConversionError> {
        let (files, _) = self.totals();
        if files as usize >= self.limits.max_entries {
            return Err(too_large(format!("the model has more than {} files", self.limits.max_entries)));
        }
        if bytes > self.room_left() {
            return Err(self.limits.too_large());
        }
        Ok(())
    }

    /// Number of bytes by which the model's files may still grow.
    pub fn room_left(&self) -> u64 {
        self.limits.max_unpacked.saturating_sub(self.totals().1.saturating_add(self.budget.grown()))
    }

    pub fn limits(&self) -> ModelLimits {
        self.limits
    }

    /// Number of bytes that may still be unpacked to find references; all compressed files of the model share it.
    pub fn unpacking_left(&mut self) -> &mut u64 {
        &mut self.unpacking_left
    }

    /// Counts steps of resolving references before they are taken.
    ///
    /// # Errors
    /// `too_large` when no honest model needs as many, `cancelled`.
    pub fn count_steps(&mut self, steps: usize) -> Result<(), ConversionError> {
        self.context.cancel.check()?;
        self.budget.count_steps(steps)
    }

    /// Whether another hard link may be made at a path of so many `parts`; counts it.
    pub fn may_link(&mut self, parts: usize) -> bool {
        self.budget.may_link(parts)
    }

    /// Counts the growth of a rewritten file that now has `bytes`; the reported size of the model stays what was sent.
    pub fn count_rewritten(&mut self, index: usize, bytes: u64) {
        let before = self.items.get(index).map_or(0, |item| item.bytes);
        self.budget.grow(bytes.saturating_sub(before));
    }

    /// Counts a copy of `bytes` before it is made.
    ///
    /// # Errors
    /// `too_large`
    pub fn count_copy(&mut self, bytes: u64) -> Result<(), ConversionError> {
        if bytes > self.room_left() {
            return Err(self.limits.too_large());
        }
        self.budget.grow(bytes);
        Ok(())
    }

    /// Renames the stored file to an extension by which importers recognise its format.
    pub fn set_extension(&mut self, index: usize, extension: &str) -> Result<(), ConversionError> {
        if self.items[index].outside.is_some() {
            return Ok(());
        }
        let old = self.items[index].stored.clone();
        let wanted = old.with_extension(extension);
        let new = self.free_path(&wanted.iter().filter_map(OsStr::to_str).collect::<Vec<_>>());
        fs::rename(self.folder.join(&old), self.folder.join(&new)).map_err(storing)?;
        self.items[index].stored = new;
        Ok(())
    }

    fn add(&mut self, name: String, stored: PathBuf, outside: Option<Located>, bytes: u64) -> usize {
        let index = self.items.len();
        self.by_path.entry(name.to_lowercase()).or_default().push(index);
        self.by_base.entry(names::base_name(&name).to_lowercase()).or_default().push(index);
        let used = outside.is_none();
        self.items.push(Item { name, stored, outside, used, bytes });
        index
    }

    /// Undoes the last [`Files::create`].
    fn forget_last(&mut self) {
        let Some(item) = self.items.pop() else { return };
        let index = self.items.len();
        self.taken.remove(&item.stored);
        for named in self.by_path.values_mut().chain(self.by_base.values_mut()) {
            named.retain(|other| *other != index);
        }
        let _ = fs::remove_file(self.folder.join(&item.stored));
    }

    /// Reserves a safe path for `name` that no other file has.
    fn free_path(&mut self, name: &[&str]) -> PathBuf {
        let safe: PathBuf = name.iter().map(|part| names::safe(part)).collect();
        let file = safe.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let mut free = safe.clone();
        while self.taken.contains_key(&free) {
            let next = self.taken.entry(safe.clone()).or_insert(2);
            free = safe.with_file_name(names::numbered(file, *next));
            *next += 1;
        }
        self.taken.insert(free.clone(), 2);
        free
    }
}

#[allow(clippy::needless_pass_by_value)] // the signature of `map_err`
fn storing(error: io::Error) -> ConversionError {
    ConversionError::io("store the model", &error)
}

/// Creates a file that does not exist yet, and the folders above it.
fn create_file(path: &Path) -> io::Result<File> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    File::create_new(path)
}

#[cfg(test)]
mod tests;
