//! The files of one model: what each was called by its sender, where it lies, and which one a reference means.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::model::{Limits, Part};
use super::originals::Originals;
use super::{names, siblings};
use crate::context::Context;
use crate::domain::{ConversionError, ErrorCode};
use crate::open::Located;

/// Most files of one name among which the likeliest is sought.
const MAX_LIKELY: usize = 64;

/// Deepest nesting of folders, and longest path of a file in bytes: systems stop at 4,096 with all that is above.
const MAX_DEPTH: usize = 64;
const MAX_PATH: usize = 2000;

/// Most bytes of the names of all files together.
const MAX_NAMES: usize = 1 << 20;

/// Most references of a model that are looked up, and most folders and second names that are made where they lead to.
const MAX_REFERENCES: usize = 200_000;
const MAX_PLACED: usize = 8000;

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

/// Which file a reference means.
#[derive(Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The file at this index.
    Found(usize),
    /// It names a place inside the model, and nothing is there.
    Missing,
    /// It names a place outside the model, which was not looked at.
    Outside,
}

/// Which files a reference may mean.
#[derive(Debug)]
pub enum Found {
    /// The path is that of the file at this index.
    Exactly(usize),
    /// As much of the path as of no other file is that of these, at least one.
    Likely(Vec<usize>),
    Missing,
    Outside,
}

/// The files of a model and the folder that holds them.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    limits: Limits,
    context: Context,
    items: Vec<Item>,
    taken: HashSet<PathBuf>,
    by_path: HashMap<String, Vec<usize>>,
    by_base: HashMap<String, Vec<usize>>,
    /// A file of the user's own around which nobody has looked yet.
    around: Option<PathBuf>,
    /// Whether used files stay where they are.
    stay: bool,
    /// Present when the main file lies elsewhere.
    originals: Option<Originals>,
    /// How many more bytes may be unpacked to look into packed files of this model.
    unpacking: u64,
    /// By how many bytes the files of the model have grown since they came.
    grown: u64,
    /// How many more references may be looked up, and how many more folders and names made for them.
    references: usize,
    placing: usize,
    /// How many more bytes the names of files may have.
    names: usize,
}

impl Files {
    /// The folder is made with the first file in it.
    pub fn new(folder: &Path, limits: Limits, context: Context) -> Self {
        Self {
            folder: folder.to_owned(),
            limits,
            context,
            unpacking: limits.max_unpacked,
            grown: 0,
            references: MAX_REFERENCES,
            placing: MAX_PLACED,
            names: MAX_NAMES,
            items: Vec::new(),
            taken: HashSet::new(),
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
        let length = name.iter().map(|part| part.len() + 1).sum();
        self.names = self.names.checked_sub(length).ok_or_else(|| {
            let detail = "the names of the model's files are longer than 1 MiB together";
            ConversionError::new(ErrorCode::TooLarge, detail)
        })?;
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

    /// How many more bytes may be unpacked to look into this model's packed files: all of them share one limit.
    pub fn unpacking_left(&mut self) -> &mut u64 {
        &mut self.unpacking
    }

    /// Counts a reference that is about to be looked up.
    ///
    /// # Errors
    /// `too_large` where there are more of them than any model has, `cancelled`.
    pub fn count_reference(&mut self) -> Result<(), ConversionError> {
        self.context.cancel.check()?;
        self.references = self.references.checked_sub(1).ok_or_else(|| {
            let detail = format!("the model refers to other files more than {MAX_REFERENCES} times");
            ConversionError::new(ErrorCode::TooLarge, detail)
        })?;
        Ok(())
    }

    /// Whether a file may get a second name at a path of so many parts; it is counted.
    pub fn may_place(&mut self, parts: usize) -> bool {
        let left = self.placing.checked_sub(parts);
        self.placing = left.unwrap_or(0);
        left.is_some()
    }

    /// The file at `index`, which is as it came, has so many bytes now. The model's size stays what was sent.
    pub fn rewritten(&mut self, index: usize, bytes: u64) {
        let before = self.items.get(index).map_or(0, |item| item.bytes);
        self.grown += bytes.saturating_sub(before);
    }

    /// Counts another copy of `bytes`.
    ///
    /// # Errors
    /// `too_large`
    pub fn grow(&mut self, bytes: u64) -> Result<(), ConversionError> {
        if bytes > self.room_left() {
            return Err(self.limits.too_large());
        }
        self.grown += bytes;
        Ok(())
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
            siblings::offer(&path, &root, self);
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

    /// The file that `reference` means, written in the file called `from`.
    ///
    /// The exact path wins, then the same path in other case, then the only or likeliest file of that name:
    /// references were written on other machines, in other folders. Some are written like those of URLs.
    pub fn resolve(&self, from: &str, reference: &str) -> Resolved {
        match self.find(from, reference) {
            Found::Exactly(index) => Resolved::Found(index),
            Found::Likely(found) => found.first().map_or(Resolved::Missing, |index| Resolved::Found(*index)),
            Found::Missing => Resolved::Missing,
            Found::Outside => Resolved::Outside,
        }
    }

    /// As [`Files::resolve`], with all that are as likely.
    pub fn find(&self, from: &str, reference: &str) -> Found {
        match self.find_written(from, reference) {
            Found::Missing if reference.contains('%') => {
                self.find_written(from, &percent_decode_str(reference).decode_utf8_lossy())
            }
            found => found,
        }
    }

    fn find_written(&self, from: &str, reference: &str) -> Found {
        let base = from.rsplit_once('/').map_or("", |(folder, _)| folder);
        let joined = if base.is_empty() { reference.to_owned() } else { format!("{base}/{reference}") };
        let inside =
            is_relative(reference).then(|| names::components(&joined).map(|parts| parts.join("/"))).flatten();
        if let Some(path) = &inside {
            let same = self.by_path.get(&path.to_lowercase()).map(Vec::as_slice).unwrap_or_default();
            let exact =
                same.iter().find(|index| self.items.get(**index).is_some_and(|item| item.name == *path));
            if let Some(index) = exact.or(same.first()) {
                return Found::Exactly(*index);
            }
        }
        let wanted: Vec<String> = reference.rsplit(['/', '\\']).map(str::to_lowercase).collect();
        let is_url = reference.contains("://") && !reference.to_ascii_lowercase().starts_with("file:");
        let same_name = wanted.first().filter(|_| !is_url).and_then(|name| self.by_base.get(name));
        let Some(same_name) = same_name.filter(|found| !found.is_empty()) else {
            return if inside.is_some() { Found::Missing } else { Found::Outside };
        };
        let tails: Vec<(usize, usize)> = same_name
            .iter()
            .take(MAX_LIKELY)
            .map(|index| (self.common_tail(*index, &wanted), *index))
            .collect();
        let longest = tails.iter().map(|(tail, _)| *tail).max();
        Found::Likely(tails.into_iter().filter(|(tail, _)| Some(*tail) == longest).map(|(_, i)| i).collect())
    }

    /// How many components at the end of the file's path are those of the reference.
    fn common_tail(&self, index: usize, wanted: &[String]) -> usize {
        let Some(item) = self.items.get(index) else { return 0 };
        item.name.rsplit('/').zip(wanted).take_while(|(part, want)| part.to_lowercase() == **want).count()
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

    /// Checks that another file of `bytes` fits into the limits.
    pub fn room_for(&self, bytes: u64) -> Result<(), ConversionError> {
        let (files, _) = self.totals();
        if files as usize >= self.limits.max_entries {
            return Err(ConversionError::new(
                ErrorCode::TooLarge,
                format!("the model has more than {} files", self.limits.max_entries),
            ));
        }
        if bytes > self.room_left() {
            return Err(self.limits.too_large());
        }
        Ok(())
    }

    /// How many more bytes the model's files may have.
    pub fn room_left(&self) -> u64 {
        self.limits.max_unpacked.saturating_sub(self.totals().1.saturating_add(self.grown))
    }

    pub fn limits(&self) -> Limits {
        self.limits
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
        let mut free = safe.clone();
        for number in 2.. {
            if self.taken.insert(free.clone()) {
                break;
            }
            let file = safe.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            let (stem, extension) = names::split_extension(file);
            let dot = if extension.is_empty() { "" } else { "." };
            free = safe.with_file_name(format!("{stem}-{number}{dot}{extension}"));
        }
        free
    }
}

/// Whether a path is relative; one that climbs may still stay inside, as that depends on where it is written.
fn is_relative(reference: &str) -> bool {
    !reference.starts_with(['/', '\\']) && !names::has_scheme_or_drive(reference) && !reference.contains('\0')
}

#[cfg(test)]
mod tests;
