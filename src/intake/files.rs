//! The files of one model: what each was called by its sender, where it lies, and which one a reference means.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::model::Limits;
use super::names;
use super::open::Root;
use crate::domain::{ConversionError, ErrorCode};

/// Most files of one name among which the likeliest is sought.
const MAX_LIKELY: usize = 64;

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
    beside: Option<(Arc<Root>, PathBuf)>,
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

/// The files of a model and the folder that holds them.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    limits: Limits,
    items: Vec<Item>,
    taken: HashSet<PathBuf>,
    by_path: HashMap<String, Vec<usize>>,
    by_base: HashMap<String, Vec<usize>>,
}

impl Files {
    pub fn new(folder: &Path, limits: Limits) -> Result<Self, ConversionError> {
        fs::create_dir_all(folder)
            .map_err(|error| ConversionError::io("create the model's folder", &error))?;
        Ok(Self {
            folder: folder.to_owned(),
            limits,
            items: Vec::new(),
            taken: HashSet::new(),
            by_path: HashMap::new(),
            by_base: HashMap::new(),
        })
    }

    /// Creates an empty file for what the sender calls `name` (a path of harmless components).
    /// The caller writes it and then says how large it became by [`Files::written`].
    pub fn create(&mut self, name: &[&str]) -> Result<(usize, File), ConversionError> {
        self.room_for(0)?;
        let stored = self.free_path(name);
        if name.len() > MAX_DEPTH || stored.as_os_str().len() > MAX_PATH {
            let detail = "the model has folders nested too deeply, or too long a path";
            return Err(ConversionError::new(ErrorCode::InvalidArchive, detail));
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
        let (index, mut to) = self.create(name)?;
        match self.copy_within(&mut from, &mut to) {
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
        let left = self.limits.max_unpacked.saturating_sub(self.totals().1);
        let mut copy = || -> io::Result<(u64, usize)> {
            let bytes = io::copy(&mut from.by_ref().take(left), to)?;
            Ok((bytes, if bytes < left { 0 } else { from.read(&mut [0])? }))
        };
        match copy().map_err(|error| ConversionError::io("store the model", &error))? {
            (bytes, 0) => Ok(bytes),
            _ => Err(self.limits.too_large()),
        }
    }

    /// Makes the file at `relative` below `root` known, which is copied only when something refers to it.
    pub fn offer(&mut self, root: &Arc<Root>, relative: PathBuf, name: &[&str], bytes: u64) {
        let stored = self.free_path(name);
        self.add(name.join("/"), stored, Some((Arc::clone(root), relative)), bytes);
    }

    /// Makes sure that the file at `index` lies in the folder.
    pub fn take(&mut self, index: usize) -> Result<(), ConversionError> {
        let Some(Item { beside: Some((root, relative)), stored, .. }) = self.items.get(index) else {
            return Ok(());
        };
        let copying = |error| ConversionError::io("copy a file of the model", &error);
        // What it was when it was offered says nothing of what it is now.
        let mut from = root.file(relative).map_err(copying)?;
        let path = self.folder.join(stored);
        self.room_for(from.metadata().map_err(copying)?.len())?;
        let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| File::create(&path));
        let bytes = self.copy_within(&mut from, &mut made.map_err(copying)?)?;
        if let Some(item) = self.items.get_mut(index) {
            item.beside = None;
            item.bytes = bytes;
        }
        Ok(())
    }

    /// The file that `reference` means, written in the file called `from`.
    ///
    /// The exact path wins, then the same path in other case, then the only or likeliest file of that name:
    /// references were written on other machines, in other folders.
    pub fn resolve(&self, from: &str, reference: &str) -> Resolved {
        let base = from.rsplit_once('/').map_or("", |(folder, _)| folder);
        let joined = if base.is_empty() { reference.to_owned() } else { format!("{base}/{reference}") };
        let inside =
            is_relative(reference).then(|| names::components(&joined).map(|parts| parts.join("/"))).flatten();
        if let Some(path) = &inside {
            let same = self.by_path.get(&path.to_lowercase()).map(Vec::as_slice).unwrap_or_default();
            let exact =
                same.iter().find(|index| self.items.get(**index).is_some_and(|item| item.name == *path));
            if let Some(index) = exact.or(same.first()) {
                return Resolved::Found(*index);
            }
        }
        let wanted: Vec<String> = reference.rsplit(['/', '\\']).map(str::to_lowercase).collect();
        let is_url = reference.contains("://") && !reference.to_ascii_lowercase().starts_with("file:");
        let same_name = wanted.first().filter(|_| !is_url).and_then(|name| self.by_base.get(name));
        let likeliest = same_name.and_then(|found| {
            found
                .iter()
                .copied()
                .take(MAX_LIKELY)
                .max_by_key(|index| (self.common_tail(*index, &wanted), std::cmp::Reverse(*index)))
        });
        match (likeliest, inside) {
            (Some(index), _) => Resolved::Found(index),
            (None, Some(_)) => Resolved::Missing,
            (None, None) => Resolved::Outside,
        }
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

    /// Where the file at `index` lies in the folder, once it does.
    pub fn path(&self, index: usize) -> Option<PathBuf> {
        let item = self.items.get(index).filter(|item| item.beside.is_none())?;
        Some(self.folder.join(&item.stored))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Number and bytes of the files that lie in the folder.
    pub fn totals(&self) -> (u32, u64) {
        let present = self.items.iter().filter(|item| item.beside.is_none());
        present.fold((0, 0), |(files, bytes), item| (files + 1, bytes + item.bytes))
    }

    /// Gives the stored file an extension that engines take for what it is.
    pub fn set_extension(&mut self, index: usize, extension: &str) -> Result<(), ConversionError> {
        let Some(item) = self.items.get(index) else { return Ok(()) };
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
        let (files, total) = self.totals();
        if files as usize >= self.limits.max_entries {
            return Err(ConversionError::new(
                ErrorCode::TooLarge,
                format!("the model has more than {} files", self.limits.max_entries),
            ));
        }
        if total.saturating_add(bytes) > self.limits.max_unpacked {
            return Err(self.limits.too_large());
        }
        Ok(())
    }

    fn add(
        &mut self,
        name: String,
        stored: PathBuf,
        beside: Option<(Arc<Root>, PathBuf)>,
        bytes: u64,
    ) -> usize {
        let index = self.items.len();
        self.by_path.entry(name.to_lowercase()).or_default().push(index);
        self.by_base.entry(names::base_name(&name).to_lowercase()).or_default().push(index);
        self.items.push(Item { name, stored, beside, bytes });
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
mod tests {
    use super::*;

    fn files(names: &[&str]) -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::new(folder.path(), Limits::default()).unwrap();
        for name in names {
            files.create(&name.split('/').collect::<Vec<_>>()).unwrap();
        }
        (folder, files)
    }

    #[test]
    fn references_find_their_file_whatever_machine_wrote_them() {
        let (_folder, files) =
            files(&["scene/a.gltf", "textures/Skin.PNG", "scene/textures/skin.png", "scene/b.bin"]);
        let resolve = |reference| files.resolve("scene/a.gltf", reference);
        assert_eq!(resolve("b.bin"), Resolved::Found(3));
        assert_eq!(resolve("./B.BIN"), Resolved::Found(3));
        assert_eq!(resolve("../textures/Skin.PNG"), Resolved::Found(1));
        assert_eq!(resolve("textures\\skin.png"), Resolved::Found(2));
        assert_eq!(resolve("C:\\art\\scene\\textures\\skin.png"), Resolved::Found(2));
        assert_eq!(resolve("file:///home/x/b.bin"), Resolved::Found(3));
        assert_eq!(resolve("../../elsewhere/b.bin"), Resolved::Found(3));
        assert_eq!(resolve("c.bin"), Resolved::Missing);
        for outside in ["../../etc/passwd", "/etc/passwd", "http://host/b.bin", "C:\\x", "..\\..\\x"] {
            assert_eq!(resolve(outside), Resolved::Outside, "{outside}");
        }
    }

    /// A model's folder with the limit of 100 bytes, and a file of 10 bytes offered from another place.
    struct Offered {
        folder: tempfile::TempDir,
        place: tempfile::TempDir,
        files: Files,
    }

    impl Offered {
        fn new() -> Offered {
            let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            fs::create_dir(place.path().join("sub")).unwrap();
            fs::write(place.path().join("sub/skin.png"), "0123456789").unwrap();
            let limits = Limits { max_unpacked: 100, ..Limits::default() };
            let mut files = Files::new(folder.path(), limits).unwrap();
            let root = Arc::new(Root::open(place.path()).unwrap());
            files.offer(&root, "sub/skin.png".into(), &["sub", "skin.png"], 10);
            Offered { folder, place, files }
        }

        /// Takes the file; what then lies in the model's folder.
        fn take(&mut self) -> (Result<(), ErrorCode>, Option<String>) {
            let result = self.files.take(0).map_err(|error| error.code);
            (result, fs::read_to_string(self.folder.path().join("sub/skin.png")).ok())
        }
    }

    #[test]
    fn a_link_or_a_pipe_swapped_in_is_not_read() {
        use std::os::unix::fs::symlink;
        let secret = tempfile::tempdir().unwrap();
        fs::write(secret.path().join("skin.png"), "secret").unwrap();

        let mut offered = Offered::new();
        let sub = offered.place.path().join("sub");
        fs::remove_dir_all(&sub).unwrap();
        symlink(secret.path(), &sub).unwrap();
        assert_eq!(offered.take(), (Err(ErrorCode::Io), None));

        let mut offered = Offered::new();
        let file = offered.place.path().join("sub/skin.png");
        fs::remove_file(&file).unwrap();
        symlink(secret.path().join("skin.png"), &file).unwrap();
        assert_eq!(offered.take(), (Err(ErrorCode::Io), None));

        fs::remove_file(&file).unwrap();
        let (cwd, mode) = (rustix::fs::CWD, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(cwd, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(offered.take(), (Err(ErrorCode::Io), None));

        fs::remove_file(&file).unwrap();
        assert_eq!(offered.take(), (Err(ErrorCode::Io), None));
        fs::write(&file, "here again").unwrap();
        assert_eq!(offered.take(), (Ok(()), Some("here again".to_owned())));
    }

    #[test]
    fn what_grew_or_shrank_counts_as_it_is_now() {
        let grown = |bytes| {
            let mut offered = Offered::new();
            fs::write(offered.place.path().join("sub/skin.png"), "x".repeat(bytes)).unwrap();
            let (result, copied) = offered.take();
            (result, copied.map(|text| text.len()), offered.files.totals())
        };
        assert_eq!(grown(3), (Ok(()), Some(3), (1, 3)));
        assert_eq!(grown(100), (Ok(()), Some(100), (1, 100)));
        assert_eq!(grown(101), (Err(ErrorCode::TooLarge), None, (0, 0)));
    }

    #[test]
    fn what_grows_while_it_is_read_is_copied_up_to_the_limit() {
        // Files of the kernel say that they are empty, as a file that grows later does.
        let endless = Path::new("/proc/self/maps");
        assert_eq!(endless.metadata().unwrap().len(), 0);
        let mut offered = Offered::new();
        let mut to = File::create(offered.folder.path().join("copy")).unwrap();
        let error = offered.files.copy_within(&mut File::open(endless).unwrap(), &mut to).unwrap_err();
        assert_eq!((error.code, to.metadata().unwrap().len()), (ErrorCode::TooLarge, 100));

        let error = offered.files.copy(File::open(endless), &["maps"]).unwrap_err();
        assert_eq!((error.code, offered.files.items().len()), (ErrorCode::TooLarge, 1));
        assert!(!offered.folder.path().join("maps").exists());
    }

    #[test]
    fn nothing_is_left_of_what_cannot_be_read_to_its_end() {
        let mut offered = Offered::new();
        // Opens, and fails when it is read.
        let error = offered.files.copy(File::open("/proc/self/mem"), &["a.obj"]).unwrap_err();
        assert_eq!((error.code, offered.files.items().len()), (ErrorCode::Io, 1));
        assert!(!offered.folder.path().join("a.obj").exists());
        assert_eq!(offered.files.resolve("x.obj", "a.obj"), Resolved::Missing);
        let file = offered.place.path().join("sub/skin.png");
        assert_eq!(offered.files.copy(File::open(file), &["a.obj"]).unwrap(), 1);
        assert_eq!(offered.files.item(1).unwrap().stored, Path::new("a.obj"));
    }

    #[test]
    fn equal_names_get_a_suffix() {
        let (_folder, files) = files(&["a.png", "a\n.png", ".a.png"]);
        let stored: Vec<_> = files.items().iter().map(|item| item.stored.to_str().unwrap()).collect();
        assert_eq!(stored, ["a.png", "a-2.png", "a-3.png"]);
    }
}
