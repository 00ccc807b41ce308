//! Prepares a model: stores its files in the conversion's folder, finds the main file and resolves its references.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use super::archive;
use super::detect::{self, Content};
use super::in_place::Originals;
use super::model_files::Files;
use super::references::{self, Findings};
use super::source::{Limits, Named, Part, Sent, Source, unreadable};
use crate::context::Context;
use crate::domain::{ConversionError, ErrorCode, Format};
use crate::fs::names;
use crate::fs::open::{self, Located, Root};

/// A model that is ready for an engine.
#[derive(Debug, Clone)]
pub struct Model {
    /// The folder with the model's files, unless they stay where they are.
    pub folder: PathBuf,
    /// The main file, relative to `folder`.
    pub main: PathBuf,
    pub format: Format,
    /// Size of all files together, in bytes.
    pub bytes: u64,
    pub files: u32,
    pub warnings: Vec<String>,
    /// Names of textures that the model refers to but does not contain.
    pub missing_textures: Vec<String>,
    /// The name for a result, without extension.
    pub name: String,
    originals: Option<Originals>,
    parts: Vec<(String, Part)>,
}

impl Model {
    /// Opens every file of the model as an engine reads it; returns them with the sender's names, the main file first.
    ///
    /// # Errors
    /// `io`
    pub fn open_parts(&self) -> Result<Vec<(&str, File)>, ConversionError> {
        let open = |part: &Part| match part {
            Part::InPlace(located) => located.open(),
            Part::Stored(stored) => open::regular(&self.folder.join(stored)),
        };
        let opened = self.parts.iter().map(|(name, part)| Ok((name.as_str(), open(part)?)));
        opened.collect::<io::Result<_>>().map_err(unreadable)
    }

    /// The main file and the folder of its references, for a model that stays where it is. Files must be opened by way
    /// of these, so that no link is followed that somebody else puts there in the meantime.
    pub fn in_place(&self) -> Option<(&Located, Option<&Arc<Root>>)> {
        self.originals.as_ref().map(|originals| (&originals.main, originals.folder.as_ref()))
    }

    /// Whether the model is in memory.
    pub fn is_in_memory(&self) -> bool {
        self.originals.as_ref().is_some_and(|originals| originals.main.root().is_none())
    }

    /// Checks that the user's files did not change while they were read.
    ///
    /// # Errors
    /// `io` when one did.
    pub fn check_unchanged(&self) -> Result<(), ConversionError> {
        self.originals.as_ref().map_or(Ok(()), Originals::check)
    }
}

/// Most links and special files that are named in warnings.
const MAX_WARNINGS: usize = 5;

/// The origin of the files, for sentences.
#[derive(Clone, Copy)]
enum Container {
    Upload,
    Zip,
    Folder,
}

impl Container {
    fn word(self) -> &'static str {
        match self {
            Container::Upload => "the upload",
            Container::Zip => "the zip",
            Container::Folder => "the folder",
        }
    }
}

/// Copies the model into the folder `into` and makes it ready for an engine. `main` names the main file where several
/// files could be it. `into` must be the caller's own; after an error it may hold files.
///
/// A single file, with or without siblings, stays where it is if `in_place` returns `true` for its format and no
/// references in it must be rewritten. [`Model::in_place`] then returns its location, and [`Model::check_unchanged`]
/// must be called after reading it.
///
/// # Errors
/// The errors of [`archive::unpack`], [`detect::detect`] and [`references::resolve`], and `ambiguous_model`.
pub fn prepare(
    source: &Source,
    main: Option<&str>,
    into: &Path,
    limits: Limits,
    context: &Context,
    in_place: &dyn Fn(Format) -> bool,
) -> Result<Model, ConversionError> {
    let mut files = Files::new(into, limits, context.clone());
    let mut warnings = Vec::new();
    let Gathered { container, name, content: known } = gather(source, &mut files, &mut warnings, in_place)?;
    let with_siblings = matches!((source, container), (Source::FileWithSiblings(_), Container::Upload));
    let index = if with_siblings { 0 } else { main_file(&mut files, main, container)? };
    let original = files.item(index).map(|item| item.name.clone()).unwrap_or_default();
    let is_same = |main: &&str| names::base_name(main).to_lowercase() == original.to_lowercase();
    if let Some(other) = main.filter(|main| with_siblings && !is_same(main)) {
        let (other, name) = (names::quoted(other), names::quoted(&original));
        warnings.push(format!("main names {other}, but the model is the one file {name}"));
    }
    let detected = match known {
        Some(known) => known,
        None => detect::detect_file(&files.path(index).unwrap_or_default(), &original, &context.cancel)
            .map_err(|error| about(error, &original, files.items().len()))?,
    };
    let Content::Model(format) = detected else {
        return Err(nested(container));
    };
    warnings.extend(detect::name_mismatch(detected, &original));
    files.stay(files.has_originals() && in_place(format));
    files.take(index)?;
    if Format::from_extension(&names::extension(&original)) != Some(format) {
        files.set_extension(index, format.name())?;
    }
    let Findings { missing_textures, warnings: found } = references::resolve(&mut files, index, format)?;
    warnings.extend(found);
    let (count, bytes) = files.totals();
    Ok(Model {
        folder: into.to_owned(),
        main: files.item(index).map(|item| item.stored.clone()).unwrap_or_default(),
        format,
        bytes,
        files: count,
        warnings,
        missing_textures,
        name: names::result_name(name.as_deref().unwrap_or(&original)),
        parts: files.parts(index),
        originals: files.into_originals(),
    })
}

/// The files of a model, gathered.
struct Gathered {
    container: Container,
    /// The name of the container or of the only file.
    name: Option<String>,
    /// The content of the only file, if it was detected already.
    content: Option<Content>,
}

/// Adds the files of `source` to `files`.
fn gather(
    source: &Source,
    files: &mut Files,
    warnings: &mut Vec<String>,
    in_place: &dyn Fn(Format) -> bool,
) -> Result<Gathered, ConversionError> {
    match source {
        Source::Files(sent) => match sent.as_slice() {
            [] => Err(ConversionError::new(ErrorCode::EmptyFile, "no file was sent")),
            [only] => gather_one(only, files, in_place),
            several => gather_several(several, files),
        },
        Source::FileWithSiblings(path) => gather_with_siblings(path, files),
        Source::Folder(folder) => gather_folder(folder, files, warnings),
    }
}

fn gather_one(
    only: &Named,
    files: &mut Files,
    in_place: &dyn Fn(Format) -> bool,
) -> Result<Gathered, ConversionError> {
    let gathered = detect_or_unpack(only, files)?;
    match gathered.content {
        Some(Content::Model(format)) if in_place(format) => store_or_offer(only, files)?,
        Some(_) => store(only, files)?,
        None => {}
    }
    Ok(gathered)
}

fn gather_several(several: &[Named], files: &mut Files) -> Result<Gathered, ConversionError> {
    for file in several {
        let cancel = &files.context().cancel;
        let is_zip =
            |content| matches!(detect::detect(&mut cancel.reader(content), &file.name), Ok(Content::Zip));
        if file.file.open().is_ok_and(is_zip) {
            let detail = "a zip was sent among other files; send one zip, or the files themselves";
            return Err(ConversionError::new(ErrorCode::InvalidArchive, detail));
        }
        store(file, files)?;
    }
    Ok(Gathered { container: Container::Upload, name: None, content: None })
}

fn gather_with_siblings(path: &Path, files: &mut Files) -> Result<Gathered, ConversionError> {
    let name = file_name(path).unwrap_or_else(|| "model".to_owned());
    let only = Named { file: Sent::Theirs(path.to_owned()), name };
    let gathered = detect_or_unpack(&only, files)?;
    if gathered.content.is_some() {
        files.offer_main(path, &only.name)?;
    }
    Ok(gathered)
}

fn gather_folder(
    folder: &Path,
    files: &mut Files,
    warnings: &mut Vec<String>,
) -> Result<Gathered, ConversionError> {
    copy_folder(folder, files, warnings)?;
    let full = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let name = file_name(&full).map(|name| format!("{name}.folder"));
    Ok(Gathered { container: Container::Folder, name, content: None })
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// Detects the content of the only file, or unpacks it if it is a zip.
fn detect_or_unpack(only: &Named, files: &mut Files) -> Result<Gathered, ConversionError> {
    let name = Some(only.name.clone());
    let opened = only.file.open().map_err(unreadable)?;
    let content = detect::detect(&mut files.context().cancel.reader(opened), &only.name)?;
    if content != Content::Zip {
        return Ok(Gathered { container: Container::Upload, name, content: Some(content) });
    }
    archive::unpack(&only.file, files)?;
    Ok(Gathered { container: Container::Zip, name, content: None })
}

/// Leaves a file of the conversion's own where it is; stores another one.
fn store_or_offer(file: &Named, files: &mut Files) -> Result<(), ConversionError> {
    match file.file.located().map_err(unreadable)? {
        None => store(file, files),
        Some(located) => {
            files.offer_alone(located, names::base_name(&file.name));
            Ok(())
        }
    }
}

/// Moves or copies a file into the model's folder.
fn store(file: &Named, files: &mut Files) -> Result<(), ConversionError> {
    let parts = names::components(&file.name).filter(|parts| !parts.is_empty());
    let parts = parts.unwrap_or_else(|| vec![names::base_name(&file.name)]);
    match &file.file {
        Sent::Owned(path) => files.adopt(path, &parts),
        Sent::Theirs(_) | Sent::Memory(_) => files.copy(file.file.open(), &parts),
    }
    .map(|_| ())
}

fn copy_folder(folder: &Path, files: &mut Files, warnings: &mut Vec<String>) -> Result<(), ConversionError> {
    let mut skipped = 0;
    let mut skip = |relative: &str, why: &str| {
        skipped += 1;
        if skipped <= MAX_WARNINGS {
            warnings.push(format!("{} {why} and was left out", names::quoted(relative)));
        }
    };
    let below = |path: &Path| path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned();
    let root = Root::open(folder).map_err(|error| ConversionError::io("read the folder", &error))?;
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.depth() > 0 => {
                skip(&error.path().map(below).unwrap_or_default(), "cannot be read");
                continue;
            }
            Err(error) => return Err(ConversionError::io("read the folder", &error.into())),
        };
        let relative = below(entry.path());
        let parts: Vec<&str> = relative.split('/').filter(|part| !part.is_empty()).collect();
        if parts.is_empty() || entry.file_type().is_dir() || names::is_junk(&parts) {
            continue;
        }
        if !entry.file_type().is_file() {
            skip(&relative, "is a link or special file");
            continue;
        }
        let inside = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        match files.copy(root.file(inside), &parts) {
            // A folder may hold files that are not the model's.
            Err(error) if error.code == ErrorCode::Io => skip(&relative, "cannot be read"),
            other => _ = other?,
        }
    }
    Ok(())
}

/// Finds the index of the only file that can be the main file.
fn main_file(files: &mut Files, main: Option<&str>, container: Container) -> Result<usize, ConversionError> {
    if let Some(main) = main {
        return named_main(files, main, container);
    }
    let mut candidates = candidates(files)?;
    if candidates.len() > 1 {
        references::drop_referenced(files, &mut candidates)?;
    }
    let items = files.items();
    let archives = items.iter().filter(|item| names::extension(&item.name) == "zip").count();
    match candidates.as_slice() {
        [only] => Ok(*only),
        [] if archives > 0 => Err(nested(container)),
        [] => {
            let found = if items.is_empty() { "is empty" } else { "holds no model" };
            let detail = format!("{} {found}", container.word());
            Err(ConversionError::new(ErrorCode::UnknownFormat, detail))
        }
        several => {
            Err(ambiguous(&several.iter().map(|index| files.name(*index)).collect::<Vec<_>>(), container))
        }
    }
}

/// The indices of the files that could be the main file.
fn candidates(files: &Files) -> Result<Vec<usize>, ConversionError> {
    let items = files.items();
    let all = || 0..items.len();
    let named: Vec<usize> = all()
        .filter(|index| Format::from_extension(&names::extension(files.name(*index))).is_some())
        .collect();
    if !named.is_empty() {
        return Ok(named);
    }
    // No name has a known extension: try the contents. A single file is always a candidate, for a better error.
    let mut models = Vec::new();
    for index in all() {
        files.context().cancel.check()?;
        if items.len() == 1 || is_model(files, index) {
            models.push(index);
        }
    }
    files.context().cancel.check()?;
    Ok(models)
}

fn named_main(files: &Files, main: &str, container: Container) -> Result<usize, ConversionError> {
    let wanted = main.trim_start_matches("./").to_lowercase();
    let items = files.items();
    let by = |test: &dyn Fn(&str) -> bool| items.iter().position(|item| test(&item.name));
    by(&|name| name == main)
        .or_else(|| by(&|name| name.to_lowercase() == wanted))
        .or_else(|| by(&|name| names::base_name(name).to_lowercase() == wanted))
        .ok_or_else(|| {
            let detail = format!("{} holds no file named {}", container.word(), names::quoted(main));
            ConversionError::new(ErrorCode::InvalidOption, detail)
        })
}

fn is_model(files: &Files, index: usize) -> bool {
    let (Some(path), Some(item)) = (files.path(index), files.item(index)) else { return false };
    matches!(detect::detect_file(&path, &item.name, &files.context().cancel), Ok(Content::Model(_)))
}

fn ambiguous(candidates: &[&str], container: Container) -> ConversionError {
    const SHOWN: usize = 5;
    let shown: Vec<String> = candidates.iter().take(SHOWN).map(|name| names::quoted(name)).collect();
    let more = candidates.len().checked_sub(SHOWN).filter(|more| *more > 0);
    let more = more.map_or(String::new(), |more| format!(" and {more} more"));
    let detail = format!(
        "{} holds {} models; name one with --main or main=: {}{more}",
        container.word(),
        candidates.len(),
        shown.join(", ")
    );
    ConversionError::new(ErrorCode::AmbiguousModel, detail)
}

fn nested(container: Container) -> ConversionError {
    let detail = format!("{} holds another zip instead of a model", container.word());
    ConversionError::new(ErrorCode::InvalidArchive, detail)
}

/// Puts the name of the file into the error where there are several files.
fn about(error: ConversionError, name: &str, files: usize) -> ConversionError {
    if files <= 1 {
        return error;
    }
    ConversionError::new(error.code, error.detail.replacen("the file", &names::quoted(name), 1))
}
