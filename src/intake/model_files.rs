//! The files of one model: what each was called by its sender, where it lies, and which one a reference means.

mod budget;
mod lookup;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use budget::Budget;
pub use budget::MAX_NAMES;
pub use lookup::{Found, Resolved};
use walkdir::WalkDir;

use super::in_place::Originals;
use super::source::{Limits, Part};
use crate::context::Context;
use crate::domain::{ConversionError, ErrorCode};
use crate::fs::names;
use crate::fs::open::{Located, Root, folder_of};

/// Files that may lie around a file of the user's own; more are not looked at.
const MAX_SIBLINGS: usize = 4000;

/// Deepest nesting of folders, and longest path of a file in bytes: systems stop at 4,096 with all that is above.
const MAX_DEPTH: usize = 64;
const MAX_PATH: usize = 2000;

/// One file of a model.
#[derive(Debug)]
pub struct Item {
    /// Path inside the model as its sender wrote it, with `/` between components.
    pub name: String,
    /// Path inside the conversion's folder, of safe components.
    pub stored: PathBuf,
    /// Where the file lies as long as it has not been copied into the folder.
    beside: Option<Located>,
    /// Whether it is the model's: one that was offered may not be.
    used: bool,
    pub bytes: u64,
}

/// The files of a model and the folder that holds them.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    limits: Limits,
    context: Context,
    items: Vec<Item>,
    taken: HashSet<PathBuf>,
    /// By the path that is taken, the number that the next file of that path gets.
    next_number: HashMap<PathBuf, u64>,
    by_path: HashMap<String, Vec<usize>>,
    by_base: HashMap<String, Vec<usize>>,
    /// A file of the user's own around which nobody has looked yet.
    around: Option<PathBuf>,
    /// Whether used files stay where they are.
    stay: bool,
    /// Present when the main file lies elsewhere.
    originals: Option<Originals>,
    budget: Budget,
}

impl Files {
    /// The folder is made with the first file in it.
    pub fn new(folder: &Path, limits: Limits, context: Context) -> Self {
        Self {
            folder: folder.to_owned(),
            limits,
            context,
            budget: Budget::of(limits),
            items: Vec::new(),
            taken: HashSet::new(),
            next_number: HashMap::new(),
            by_path: HashMap::new(),
            by_base: HashMap::new(),
            around: None,
            stay: false,
            originals: None,
        }
    }

    /// Creates an empty file for what the sender calls `name` (a path of harmless components).
    /// The caller writes it and then says how large it became by [`Files::written`].
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
        self.count_name(name)?;
        let stored = self.free_path(name);
        if stored.as_os_str().len() > MAX_PATH {
            return Err(too_long());
        }
        let path = self.folder.join(&stored);
        let created = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| File::create_new(&path));
        let file = created.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => ConversionError::new(
                ErrorCode::InvalidArchive,
                format!("{} is both a file and a folder in the model", names::quoted(&name.join("/"))),
            ),
            _ => ConversionError::io("store the model", &error),
        })?;
        Ok((self.add(name.join("/"), stored, None, 0), file))
    }

    pub fn written(&mut self, index: usize, bytes: u64) {
        if let Some(item) = self.items.get_mut(index) {
            item.bytes = bytes;
        }
    }

    /// Copies an opened file into the folder. On an error nothing is left of it.
    pub fn copy(&mut self, from: io::Result<File>, name: &[&str]) -> Result<usize, ConversionError> {
        let reading = |error| ConversionError::io("read the model", &error);
        let mut from = from.map_err(reading)?;
        let length = from.metadata().map_err(reading)?.len();
        self.room_for(length)?;
        self.bring(name, |files, _, to| files.copy_within(&mut from, to))
    }

    /// Moves the file at `source`, which is the conversion's own, into the folder; copies it from elsewhere. On an
    /// error nothing is left of it in the folder.
    pub fn adopt(&mut self, source: &Path, name: &[&str]) -> Result<usize, ConversionError> {
        let reading = |error| ConversionError::io("read the model", &error);
        let mut from = Located::at(source).and_then(|file| file.open()).map_err(reading)?;
        let before = from.metadata().map_err(reading)?;
        self.room_for(before.len())?;
        self.bring(name, |files, stored, to| {
            if fs::rename(source, stored).is_err() {
                return files.copy_within(&mut from, to);
            }
            let moved = stored.symlink_metadata().map_err(reading)?;
            if (moved.dev(), moved.ino()) != (before.dev(), before.ino()) {
                return Err(reading(io::Error::other("it was replaced meanwhile")));
            }
            Ok(before.len())
        })
    }

    /// Creates a file that `fill` fills, or replaces by another one, and says how large it is then. On an error nothing
    /// is left of it.
    fn bring(
        &mut self,
        name: &[&str],
        fill: impl FnOnce(&Files, &Path, &mut File) -> Result<u64, ConversionError>,
    ) -> Result<usize, ConversionError> {
        let (index, mut created) = self.create(name)?;
        let stored = self.path(index).unwrap_or_default();
        match fill(self, &stored, &mut created) {
            Ok(bytes) => {
                self.written(index, bytes);
                Ok(index)
            }
            Err(error) => {
                self.forget_last();
                Err(error)
            }
        }
    }

    /// Copies what is left of a file, as far as the limit allows: it may grow meanwhile.
    fn copy_within(&self, from: &mut File, to: &mut File) -> Result<u64, ConversionError> {
        let left = self.room_left();
        let mut copy = || -> io::Result<(u64, usize)> {
            let bytes = io::copy(&mut from.by_ref().take(left), to)?;
            Ok((bytes, if bytes < left { 0 } else { from.read(&mut [0])? }))
        };
        match copy().map_err(|error| ConversionError::io("store the model", &error))? {
            (bytes, 0) => Ok(bytes),
            _ => Err(self.limits.too_large()),
        }
    }

    /// What the work on this model is given.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Makes a file known that is copied only when something refers to it.
    pub fn offer(&mut self, file: Located, name: &[&str], bytes: u64) {
        let stored = self.free_path(name);
        self.add(name.join("/"), stored, Some(file), bytes);
    }

    /// Makes the main file of the user's own known, and remembers to look around it when something refers to more.
    pub fn offer_main(&mut self, path: &Path, name: &str) -> Result<(), ConversionError> {
        let originals = Originals::of(path).map_err(|error| ConversionError::io("read the model", &error))?;
        self.offer(originals.main.clone(), &[name], 0);
        self.originals = Some(originals);
        self.around = Some(path.to_owned());
        Ok(())
    }

    /// Makes the only file known, which was sent and lies elsewhere.
    pub fn offer_alone(&mut self, file: Located, name: &str) {
        self.offer(file.clone(), &[name], 0);
        self.originals = Some(Originals::alone(file));
    }

    /// Makes the files around the main one known, if it is the user's own.
    pub fn look_around(&mut self) {
        let Some(root) = self.originals.as_ref().and_then(|originals| originals.folder.clone()) else {
            return;
        };
        if let Some(path) = self.around.take() {
            offer_siblings(&path, &root, self);
        }
    }

    /// From now on, files that are taken stay where they are, or do not.
    pub fn stay(&mut self, stay: bool) {
        self.stay = stay;
    }

    /// Whether they stay.
    pub fn stays(&self) -> bool {
        self.stay
    }

    /// Whether the main file lies elsewhere.
    pub fn has_originals(&self) -> bool {
        self.originals.is_some()
    }

    /// The files that stayed.
    pub fn into_originals(self) -> Option<Originals> {
        self.originals.filter(|_| self.stay)
    }

    /// Brings all used files into the folder after all; they must be as they were when they were taken.
    pub fn bring_in(&mut self) -> Result<(), ConversionError> {
        if !std::mem::take(&mut self.stay) {
            return Ok(());
        }
        for index in 0..self.items.len() {
            if let Some(item) = self.items.get_mut(index).filter(|item| item.used && item.beside.is_some()) {
                item.used = false;
                self.take(index)?;
            }
        }
        self.originals.as_ref().map_or(Ok(()), Originals::check)
    }

    /// Makes the file at `index` one of the model's, and unless files stay, copies it into the folder.
    pub fn take(&mut self, index: usize) -> Result<(), ConversionError> {
        let Some(Item { beside: Some(file), used: false, stored, .. }) = self.items.get(index) else {
            return Ok(());
        };
        let copying = |error| ConversionError::io("copy a file of the model", &error);
        // What it was when it was offered says nothing of what it is now.
        let mut from = file.open().map_err(copying)?;
        let metadata = from.metadata().map_err(copying)?;
        let (file, path) = (file.clone(), self.folder.join(stored));
        self.room_for(metadata.len())?;
        if let Some(originals) = self.originals.as_mut().filter(|_| self.stay) {
            originals.add(file, &metadata);
            if let Some(item) = self.items.get_mut(index) {
                item.used = true;
                item.bytes = metadata.len();
            }
            return Ok(());
        }
        // A second name of another file may be there (`references::binary`), which must not be written to.
        let _ = fs::remove_file(&path);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| File::create_new(&path));
        let bytes = self.copy_within(&mut from, &mut made.map_err(copying)?).inspect_err(|_| {
            let _ = fs::remove_file(&path);
        })?;
        if let Some(item) = self.items.get_mut(index) {
            item.beside = None;
            item.used = true;
            item.bytes = bytes;
        }
        Ok(())
    }

    pub fn items(&self) -> &[Item] {
        &self.items
    }

    pub fn item(&self, index: usize) -> Option<&Item> {
        self.items.get(index)
    }

    /// Opens the file at `index`, wherever it is now.
    pub fn open(&self, index: usize) -> io::Result<File> {
        match self.items.get(index) {
            Some(Item { beside: Some(file), .. }) => file.open(),
            Some(Item { stored, .. }) => File::open(self.folder.join(stored)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Where the file at `index` lies in the folder, once it does.
    pub fn path(&self, index: usize) -> Option<PathBuf> {
        let item = self.items.get(index).filter(|item| item.beside.is_none())?;
        Some(self.folder.join(&item.stored))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The model's files, the main one first.
    pub(super) fn parts(&self, main: usize) -> Vec<(String, Part)> {
        let mut parts: Vec<_> = self.items.iter().enumerate().filter(|(_, item)| item.used).collect();
        parts.sort_by_key(|(index, _)| *index != main);
        let part = |item: &Item| match &item.beside {
            Some(located) => Part::There(located.clone()),
            None => Part::Here(item.stored.clone()),
        };
        parts.into_iter().map(|(_, item)| (item.name.clone(), part(item))).collect()
    }

    /// Number and bytes of the model's files.
    pub fn totals(&self) -> (u32, u64) {
        let present = self.items.iter().filter(|item| item.used);
        present.fold((0, 0), |(files, bytes), item| (files + 1, bytes + item.bytes))
    }

    /// Gives the stored file an extension that engines take for what it is.
    pub fn set_extension(&mut self, index: usize, extension: &str) -> Result<(), ConversionError> {
        let Some(item) = self.items.get(index).filter(|item| item.beside.is_none()) else { return Ok(()) };
        let old = item.stored.clone();
        let stem = old.file_stem().and_then(|stem| stem.to_str()).unwrap_or("model");
        let name = format!("{stem}.{extension}");
        let folder = old.parent().and_then(Path::to_str).unwrap_or_default();
        let parts: Vec<&str> =
            folder.split('/').filter(|part| !part.is_empty()).chain([name.as_str()]).collect();
        let new = self.free_path(&parts);
        fs::rename(self.folder.join(&old), self.folder.join(&new))
            .map_err(|error| ConversionError::io("store the model", &error))?;
        if let Some(item) = self.items.get_mut(index) {
            item.stored = new;
        }
        Ok(())
    }

    fn add(&mut self, name: String, stored: PathBuf, beside: Option<Located>, bytes: u64) -> usize {
        let index = self.items.len();
        self.by_path.entry(name.to_lowercase()).or_default().push(index);
        self.by_base.entry(names::base_name(&name).to_lowercase()).or_default().push(index);
        let used = beside.is_none();
        self.items.push(Item { name, stored, beside, used, bytes });
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

    /// A safe path for `name` that no other file has.
    fn free_path(&mut self, name: &[&str]) -> PathBuf {
        let safe: PathBuf = name.iter().map(|part| names::safe(part)).collect();
        if self.taken.insert(safe.clone()) {
            return safe;
        }
        let file = safe.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        let next = self.next_number.entry(safe.clone()).or_insert(2);
        loop {
            let free = safe.with_file_name(names::numbered(file, *next));
            *next += 1;
            if self.taken.insert(free.clone()) {
                return free;
            }
        }
    }
}

/// Makes the files in the folder of `path`, which is opened as `root`, known, two levels deep; links are passed by.
fn offer_siblings(path: &Path, root: &Arc<Root>, files: &mut Files) {
    let folder = folder_of(path);
    let walk = WalkDir::new(folder).min_depth(1).max_depth(3).sort_by_file_name();
    for entry in walk.into_iter().filter_map(Result::ok).take(MAX_SIBLINGS) {
        let inside = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        let relative = inside.to_string_lossy().into_owned();
        let parts: Vec<&str> = relative.split('/').filter(|part| !part.is_empty()).collect();
        let is_main = parts.len() == 1 && entry.path().file_name() == path.file_name();
        if entry.file_type().is_file() && !is_main && !names::is_junk(&parts) {
            let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
            files.offer(Located::new(root, inside.to_owned()), &parts, bytes);
        }
    }
}

#[cfg(test)]
mod tests;
