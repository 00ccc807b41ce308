//! Resolves references of a model's main file inside the model; other files are never opened.
//!
//! References in text and JSON are rewritten, in the conversion's copy, to relative paths of existing files. Binary
//! formats stay as they are; files that they name are put where the importer looks.

mod gltf;
mod gltf_checks;
mod obj;
mod scan;
mod statements;
mod usd;
mod usdc;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::model_files::Files;
use crate::domain::{Cancellable, ConversionError, ErrorCode, Format};
use crate::formats::blend;
use crate::fs::names;
use crate::intake::source::unreadable;

/// Most missing textures and warnings that are listed.
const MAX_LISTED: usize = 100;

/// The error of more or longer paths than any model needs.
const TOO_MANY: &str = "the model refers to other files too often, or by paths that are too long";

fn too_large(detail: &str) -> ConversionError {
    ConversionError::new(ErrorCode::TooLarge, detail)
}

/// Problems with references, for the report.
#[derive(Debug, Default)]
pub struct Findings {
    pub missing_textures: Vec<String>,
    pub warnings: Vec<String>,
}

impl Findings {
    fn missing_texture(&mut self, reference: &str) {
        let name: String = reference.chars().filter(|c| !c.is_control()).take(200).collect();
        add_bounded(&mut self.missing_textures, name);
    }

    fn warn(&mut self, warning: String) {
        add_bounded(&mut self.warnings, warning);
    }
}

/// Adds a text that is new, up to [`MAX_LISTED`].
fn add_bounded(texts: &mut Vec<String>, text: String) {
    if texts.len() < MAX_LISTED && !texts.contains(&text) {
        texts.push(text);
    }
}

/// Resolves the references of the file at `index`.
///
/// # Errors
/// `missing_files` when geometry is missing, `import_failed` for an invalid file, `too_large`, `cancelled`, `io`.
pub fn resolve(files: &mut Files, index: usize, format: Format) -> Result<Findings, ConversionError> {
    let mut findings = Findings::default();
    if matches!(format, Format::Obj | Format::Usd | Format::Usda | Format::Usdc | Format::Fbx | Format::Blend)
    {
        files.offer_siblings();
    }
    match format {
        Format::Gltf | Format::Glb | Format::Vrm | Format::Vrma => {
            gltf::resolve(files, index, &mut findings)?;
        }
        Format::Obj => obj::resolve(files, index, &mut findings)?,
        Format::Usd | Format::Usda | Format::Usdc => usd::resolve(files, index, &mut findings)?,
        Format::Fbx => scan::resolve(files, index, true, &mut findings)?,
        Format::Blend => scan::resolve(files, index, false, &mut findings)?,
        // The others refer to no files.
        _ => {}
    }
    Ok(findings)
}

/// Most compressed candidates for the main file in which references are searched.
const MAX_UNPACKED: usize = 4;

/// Removes the candidates for the main file that another one refers to. If many are compressed, none of these is
/// unpacked, and the sender must name the main file.
///
/// # Errors
/// `cancelled`
pub fn drop_referenced(files: &mut Files, candidates: &mut Vec<usize>) -> Result<(), ConversionError> {
    let compressed = |index: usize| files.path(index).is_some_and(|path| blend::is_compressed(&path));
    let many = candidates.iter().filter(|index| compressed(**index)).count() > MAX_UNPACKED;
    let skipped: HashSet<usize> =
        candidates.iter().copied().filter(|index| many && compressed(*index)).collect();
    let base = |files: &Files, index: usize| names::base_name(files.name(index)).to_lowercase();
    let mut by_base: HashMap<String, Vec<usize>> = HashMap::new();
    for &candidate in candidates.iter() {
        by_base.entry(base(files, candidate)).or_default().push(candidate);
    }
    let mut referenced: HashSet<usize> = HashSet::new();
    for candidate in candidates.iter().copied().filter(|index| !skipped.contains(index)) {
        let own = base(files, candidate);
        if !matches!(names::extension(&own).as_str(), "usd" | "usda" | "usdc" | "usdz" | "blend") {
            continue;
        }
        let named = match scan::named_files(files, candidate, scan::LAYERS) {
            Err(error) if error.code == ErrorCode::Cancelled => return Err(error),
            Err(_) => continue,
            Ok(named) => named,
        };
        let others = named.keys().filter(|name| **name != own).filter_map(|name| by_base.get(name));
        referenced.extend(others.flatten());
    }
    let is_usd = |index: usize| {
        matches!(names::extension(files.name(index)).as_str(), "usd" | "usda" | "usdc" | "usdz")
    };
    let depth = |index: usize| files.name(index).split('/').count();
    let top = candidates.iter().map(|index| depth(*index)).min().unwrap_or_default();
    let highest: Vec<usize> = candidates.iter().copied().filter(|index| depth(*index) == top).collect();
    let all_usd = candidates.iter().all(|index| is_usd(*index));
    candidates.retain(|index| !referenced.contains(index));
    // Names in binary layers are compressed, but a scene lies above its parts.
    if let ([only], true) = (highest.as_slice(), all_usd && candidates.len() != 1) {
        *candidates = vec![*only];
    }
    Ok(())
}

/// Rewrites the stored copy of the file at `index` with `write`; it may grow up to the limit on the model's size.
///
/// # Errors
/// `too_large`, `cancelled`, `io`
fn rewrite(
    files: &mut Files,
    index: usize,
    write: impl FnOnce(&mut BufReader<Cancellable<File>>, &mut BufWriter<Limited>) -> io::Result<()>,
) -> Result<(), ConversionError> {
    let Some(item) = files.item(index) else { return Ok(()) };
    // This is the copy even of a file that lies outside, which is the user's own.
    let path = files.folder().join(&item.stored);
    // No name of a stored file begins with a dot.
    let draft = files.folder().join(".draft");
    let room = files.room_left().saturating_add(item.bytes);
    let too_large = files.limits().too_large();
    let run = || -> io::Result<u64> {
        let source = files.context().cancel.reader(File::open(&path)?);
        let mut reader = BufReader::with_capacity(1 << 16, source);
        let target = Limited { file: File::create(&draft)?, written: 0, room, too_large };
        let mut writer = BufWriter::with_capacity(1 << 16, target);
        write(&mut reader, &mut writer)?;
        writer.flush()?;
        fs::rename(&draft, &path)?;
        Ok(writer.get_ref().written)
    };
    let written = run().map_err(|error| ConversionError::io("prepare the model", &error))?;
    files.count_rewritten(index, written);
    Ok(())
}

/// A file of at most `room` bytes.
struct Limited {
    file: File,
    written: u64,
    room: u64,
    too_large: ConversionError,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written.saturating_add(bytes.len() as u64) > self.room {
            return Err(io::Error::other(self.too_large.clone()));
        }
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The path of the file at `to` relative to the file at `from`, with `/`.
fn relative(files: &Files, from: usize, to: usize) -> String {
    let (Some(from), Some(to)) = (files.item(from), files.item(to)) else { return String::new() };
    let folder: Vec<_> = from.stored.parent().unwrap_or(Path::new("")).components().collect();
    let target: Vec<_> = to.stored.components().collect();
    let shared = folder.iter().zip(&target).take_while(|(a, b)| a == b).count();
    let up = folder.iter().skip(shared).map(|_| "..".to_owned());
    let down = target.iter().skip(shared).map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

/// The first bytes of the file at `index`.
fn beginning(files: &Files, index: usize) -> Result<Vec<u8>, ConversionError> {
    let mut head = Vec::new();
    files.open(index).and_then(|file| file.take(64).read_to_end(&mut head)).map_err(unreadable)?;
    Ok(head)
}
