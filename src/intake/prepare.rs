//! Prepares a model: stores its files in the conversion's folder, finds the main file and resolves its references.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use super::archive;
use super::detect::{self, Detected};
use super::in_place::InPlaceFiles;
use super::model_files::{Files, Item};
use super::references::{self, Findings};
use super::source::{FileSource, ModelLimits, NamedFile, Source, unreadable};
use crate::context::Context;
use crate::domain::{ConversionError, ErrorCode, Format};
use crate::fs::names;
use crate::fs::open::{self, Located, Root};

/// A model that is ready to be converted.
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
    originals: Option<InPlaceFiles>,
    /// All files, the main one first.
    items: Vec<Item>,
}

impl Model {
    /// Opens every file of the model as it will be read; returns them with the sender's names, the main file first.
    ///
    /// # Errors
    /// `io`
    pub fn open_files(&self) -> Result<Vec<(&str, File)>, ConversionError> {
        let open = |item: &Item| match &item.outside {
            Some(located) => located.open(),
            None => open::regular(&self.folder.join(&item.stored)),
        };
        let opened = self.items.iter().map(|item| Ok((item.name.as_str(), open(item)?)));
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
        self.originals.as_ref().map_or(Ok(()), InPlaceFiles::check)
    }
}

/// Most files of one kind that a sentence, or sentences, name.
const MAX_NAMED: usize = 5;

/// Copies the model into the folder `into` and makes it ready to be converted. `main` names the main file where
/// several files could be it. `into` must be the caller's own; after an error it may hold files.
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
    limits: ModelLimits,
    context: &Context,
    in_place: &dyn Fn(Format) -> bool,
) -> Result<Model, ConversionError> {
    let mut files = Files::new(into, limits, context.clone());
    let mut warnings = Vec::new();
    let GatheredFiles { container, name, content } = gather(source, &mut files, &mut warnings, in_place)?;
    // Unless it was a zip, the file itself is the model.
    let with_siblings = matches!(source, Source::FileWithSiblings(_)) && content.is_some();
    let index = if with_siblings { 0 } else { main_file(&mut files, main, container)? };
    let original = files.name(index).to_owned();
    let is_same = |main: &&str| names::base_name(main).to_lowercase() == original.to_lowercase();
    if let Some(other) = main.filter(|main| with_siblings && !is_same(main)) {
        let (other, name) = (names::quoted(other), names::quoted(&original));
        warnings.push(format!("main names {other}, but the model is the one file {name}"));
    }
    let detected = match content {
        Some(detected) => detected,
        None => detect::detect_file(&files.path(index).unwrap_or_default(), &original, &context.cancel)
            .map_err(|error| {
                let several = files.items().len() > 1;
                let subject = if several { names::quoted(&original) } else { "the file".to_owned() };
                ConversionError::new(error.code, error.detail.replacen("the file", &subject, 1))
            })?,
    };
    let Detected::Model(format) = detected else { return Err(nested(container)) };
    warnings.extend(detect::name_mismatch(detected, &original));
    files.stay(in_place(format));
    files.take(index)?;
    if Format::from_extension(&names::extension(&original)) != Some(format) {
        files.set_extension(index, format.name())?;
    }
    let Findings { missing_textures, warnings: found } = references::resolve(&mut files, index, format)?;
    warnings.extend(found);
    let (count, bytes) = files.totals();
    Ok(Model {
        folder: into.to_owned(),
        main: files.items()[index].stored.clone(),
        format,
        bytes,
        files: count,
        warnings,
        missing_textures,
        name: names::result_name(name.as_deref().unwrap_or(&original)),
        items: files.used(index),
        originals: files.into_originals(),
    })
}

/// What is known of the files of a model once all are added.
struct GatheredFiles {
    /// The origin of the files, for sentences.
    container: &'static str,
    /// The name of the container or of the only file.
    name: Option<String>,
    /// The content of the only file, if it was detected already.
    content: Option<Detected>,
}

/// Adds the files of `source` to `files`.
fn gather(
    source: &Source,
    files: &mut Files,
    warnings: &mut Vec<String>,
    in_place: &dyn Fn(Format) -> bool,
) -> Result<GatheredFiles, ConversionError> {
    match source {
        Source::Files(sent) => match sent.as_slice() {
            [] => Err(ConversionError::new(ErrorCode::EmptyFile, "no file was sent")),
            [only] => gather_one(only, files, |files, content| {
                let stays = matches!(content, Detected::Model(format) if in_place(format));
                let located = if stays { only.file.located().map_err(unreadable)? } else { None };
                let Some(located) = located else { return store(only, files) };
                files.offer_alone(located, names::base_name(&only.name));
                Ok(())
            }),
            several => gather_several(several, files),
        },
        Source::FileWithSiblings(path) => {
            let name = file_name(path).unwrap_or_else(|| "model".to_owned());
            let only = NamedFile { file: FileSource::UserFile(path.clone()), name };
            gather_one(&only, files, |files, _| files.offer_main(path, &only.name))
        }
        Source::Folder(folder) => gather_folder(folder, files, warnings),
    }
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// Unpacks the only file if it is a zip; else detects its content and calls `add`.
fn gather_one(
    only: &NamedFile,
    files: &mut Files,
    add: impl FnOnce(&mut Files, Detected) -> Result<(), ConversionError>,
) -> Result<GatheredFiles, ConversionError> {
    let name = Some(only.name.clone());
    let content = detect::detect_sent(only, &files.context().cancel)?;
    if content == Detected::Zip {
        archive::unpack(&only.file, files)?;
        return Ok(GatheredFiles { container: "the zip", name, content: None });
    }
    add(files, content)?;
    Ok(GatheredFiles { container: "the upload", name, content: Some(content) })
}

fn gather_several(several: &[NamedFile], files: &mut Files) -> Result<GatheredFiles, ConversionError> {
    for file in several {
        if matches!(detect::detect_sent(file, &files.context().cancel), Ok(Detected::Zip)) {
            let detail = "a zip was sent among other files; send one zip, or the files themselves";
            return Err(ConversionError::new(ErrorCode::InvalidArchive, detail));
        }
        store(file, files)?;
    }
    Ok(GatheredFiles { container: "the upload", name: None, content: None })
}

fn gather_folder(
    folder: &Path,
    files: &mut Files,
    warnings: &mut Vec<String>,
) -> Result<GatheredFiles, ConversionError> {
    let mut skipped = 0;
    let mut skip = |path: &Path, why: &str| {
        skipped += 1;
        if skipped <= MAX_NAMED {
            let inside = path.strip_prefix(folder).unwrap_or(path).to_string_lossy();
            warnings.push(format!("{} {why} and was left out", names::quoted(&inside)));
        }
    };
    let root = Root::open(folder).map_err(|error| ConversionError::io("read the folder", &error))?;
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.depth() > 0 => {
                skip(error.path().unwrap_or(folder), "cannot be read");
                continue;
            }
            Err(error) => return Err(ConversionError::io("read the folder", &error.into())),
        };
        let inside = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        let relative = inside.to_string_lossy();
        let parts: Vec<&str> = relative.split('/').filter(|part| !part.is_empty()).collect();
        if parts.is_empty() || entry.file_type().is_dir() || names::is_junk(&parts) {
            continue;
        }
        if !entry.file_type().is_file() {
            skip(entry.path(), "is a link or special file");
            continue;
        }
        match files.copy(root.file(inside), &parts) {
            // A folder may hold files that are not the model's.
            Err(error) if error.code == ErrorCode::Io => skip(entry.path(), "cannot be read"),
            other => _ = other?,
        }
    }
    let full = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let name = file_name(&full).map(|name| format!("{name}.folder"));
    Ok(GatheredFiles { container: "the folder", name, content: None })
}

/// Moves or copies a file into the model's folder.
fn store(file: &NamedFile, files: &mut Files) -> Result<(), ConversionError> {
    let parts = names::components(&file.name).filter(|parts| !parts.is_empty());
    let parts = parts.unwrap_or_else(|| vec![names::base_name(&file.name)]);
    match &file.file {
        FileSource::ConversionFile(path) => files.adopt(path, &parts),
        FileSource::UserFile(_) | FileSource::Memory(_) => files.copy(file.file.open(), &parts),
    }
    .map(|_| ())
}

/// Finds the index of the only file that can be the main file.
fn main_file(files: &mut Files, main: Option<&str>, container: &str) -> Result<usize, ConversionError> {
    if let Some(main) = main {
        return named_main(files, main, container);
    }
    let mut candidates = candidates(files)?;
    if candidates.len() > 1 {
        references::drop_referenced(files, &mut candidates)?;
    }
    let items = files.items();
    let (code, detail) = match candidates.as_slice() {
        [only] => return Ok(*only),
        [] if items.iter().any(|item| names::extension(&item.name) == "zip") => {
            return Err(nested(container));
        }
        [] if items.is_empty() => (ErrorCode::UnknownFormat, format!("{container} is empty")),
        [] => (ErrorCode::UnknownFormat, format!("{container} holds no model")),
        several => {
            let named: Vec<_> = several.iter().map(|index| names::quoted(files.name(*index))).collect();
            let (count, shown) = (named.len(), names::listed(&named, MAX_NAMED));
            let detail = format!("{container} holds {count} models; name one with --main or main=: {shown}");
            (ErrorCode::AmbiguousModel, detail)
        }
    };
    Err(ConversionError::new(code, detail))
}

fn named_main(files: &Files, main: &str, container: &str) -> Result<usize, ConversionError> {
    let wanted = main.trim_start_matches("./").to_lowercase();
    let by = |test: &dyn Fn(&str) -> bool| files.items().iter().position(|item| test(&item.name));
    by(&|name| name == main)
        .or_else(|| by(&|name| name.to_lowercase() == wanted))
        .or_else(|| by(&|name| names::base_name(name).to_lowercase() == wanted))
        .ok_or_else(|| {
            let detail = format!("{container} holds no file named {}", names::quoted(main));
            ConversionError::new(ErrorCode::InvalidOption, detail)
        })
}

/// The indices of the files that could be the main file.
fn candidates(files: &Files) -> Result<Vec<usize>, ConversionError> {
    let items = files.items();
    let has_known_extension =
        |index: &usize| Format::from_extension(&names::extension(&items[*index].name)).is_some();
    let named: Vec<usize> = (0..items.len()).filter(has_known_extension).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    // No name has a known extension: try the contents. A single file is always a candidate, for a better error.
    let cancel = &files.context().cancel;
    let is_model = |index| {
        let detected = files.path(index).map(|path| detect::detect_file(&path, files.name(index), cancel));
        matches!(detected, Some(Ok(Detected::Model(_))))
    };
    let mut models = Vec::new();
    for index in 0..items.len() {
        cancel.check()?;
        if items.len() == 1 || is_model(index) {
            models.push(index);
        }
    }
    cancel.check()?;
    Ok(models)
}

fn nested(container: &str) -> ConversionError {
    let detail = format!("{container} holds another zip instead of a model");
    ConversionError::new(ErrorCode::InvalidArchive, detail)
}
