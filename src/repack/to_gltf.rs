//! Writes GLB and glTF as glTF: self-contained, or with separate files.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::iter;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::SizeLimit;
use super::to_glb::{media_type, writing};
use crate::domain::{Cancel, ConversionError, Format};
use crate::formats::gltf::asset::{Asset, Reference, uri_of};
use crate::formats::gltf::byte_range::ByteRange;
use crate::formats::gltf::json_text::{EditedJson, Edits, Members, Piece};
use crate::fs::names;

/// Files that are written beside the result, with their paths relative to it.
#[derive(Default)]
struct SeparateFiles {
    files: Vec<(PathBuf, ByteRange)>,
    /// New paths of the source's files.
    renamed: HashMap<PathBuf, PathBuf>,
    /// Paths of the files, and of the folders above them, in lower case: some systems ignore case.
    taken: HashSet<String>,
    folders: HashSet<String>,
    /// The next number for each path in lower case that several files ask for.
    numbers: HashMap<String, u64>,
}

impl SeparateFiles {
    /// Adds the source's file at `path`; returns its new path.
    ///
    /// A file above the source's main file moves beside the result, which has a folder to itself.
    fn add(&mut self, source: &Asset, path: PathBuf, content: ByteRange) -> Result<PathBuf, ConversionError> {
        if let Some(renamed) = self.renamed.get(&path) {
            return Ok(renamed.clone());
        }
        source.cancel.check()?;
        let free = self.free_path(&harmless(path.strip_prefix(source.base()).unwrap_or(&path), &content)?);
        self.files.push((free.clone(), content));
        self.renamed.insert(path, free.clone());
        Ok(free)
    }

    /// Reserves `first`, or the first of its numbered names that collides with no other file on any system.
    fn free_path(&mut self, first: &Path) -> PathBuf {
        let name = first.file_name().unwrap_or_default().to_string_lossy();
        let next = self.numbers.entry(first.to_string_lossy().to_lowercase()).or_insert(2);
        let mut path = first.to_owned();
        loop {
            let plain = path.to_string_lossy().to_lowercase();
            let folders = || plain.match_indices('/').filter_map(|(at, _)| plain.get(..at));
            let collides = self.taken.contains(&plain)
                || self.folders.contains(&plain)
                || folders().any(|folder| self.taken.contains(folder));
            if !collides {
                self.folders.extend(folders().map(str::to_owned));
                self.taken.insert(plain);
                return path;
            }
            path = first.with_file_name(names::numbered(&name, *next));
            *next += 1;
        }
    }
}

/// A harmless path for a file that a model refers to: names such as `..\x`, `.bashrc` and `run.sh` could do harm on the
/// recipient's disk. An extension that results do not have is replaced by one that fits the file's content.
fn harmless(path: &Path, content: &ByteRange) -> Result<PathBuf, ConversionError> {
    let path = names::portable_path(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if Format::Gltf.may_have_beside(names::split_extension(&name).1) {
        return Ok(path);
    }
    let extension = match media_type(content, "", None)?.as_str() {
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/webp" => "webp",
        "image/ktx2" => "ktx2",
        "image/vnd-ms.dds" => "dds",
        _ => "bin",
    };
    Ok(path.with_file_name(names::portable(&format!("{name}.{extension}"))))
}

/// Writes `source` as the self-contained gltf `target`: buffers and images become `data:` URIs.
///
/// # Errors
/// `missing_files` or `import_failed` when bytes of the model are missing, `output_too_large` when it repeats them.
pub fn write_embedded(source: &Asset, target: &Path, limit: SizeLimit) -> Result<(), ConversionError> {
    const BUFFER: &str = "application/octet-stream";
    let root = Members::parse(source.json.text())?;
    let mut edits = Edits::new(&source.json);
    let chunk = for_each_file(source, &root, |file| {
        let uri = match file.buffer {
            Some(bytes) => data_uri(BUFFER, bytes),
            None => data_uri(&media_type(&file.content, "", Some(&file.path))?, file.content),
        };
        edits.replace(file.uri, uri.into());
        Ok(())
    })?;
    if let Some((buffer, bytes)) = chunk {
        let name = Piece::New(r#""uri":"#.to_owned());
        edits.add_member(&buffer, iter::once(name).chain(data_uri(BUFFER, bytes)).collect());
    }
    let json = edits.apply();
    limit.check(json.length())?;
    write(source, &json, target).map_err(writing)
}

/// Writes `source` as `name.gltf` in `folder` with separate files; returns the paths of all files relative to `folder`.
///
/// A glb's binary chunk becomes `name.bin`, images in it included: taking them out would leave holes.
///
/// # Errors
/// As [`write_embedded`].
pub fn write_separated(
    source: &Asset,
    folder: &Path,
    name: &str,
    limit: SizeLimit,
) -> Result<Vec<PathBuf>, ConversionError> {
    let root = Members::parse(source.json.text())?;
    let mut edits = Edits::new(&source.json);
    let mut separate = SeparateFiles::default();
    let chunk = for_each_file(source, &root, |file| {
        let before = file.path.strip_prefix(source.base()).map(Path::to_owned);
        let after = separate.add(source, file.path, file.content)?;
        let climbs = file.uri.get().contains("..");
        if climbs || before.is_ok_and(|before| before != after) {
            edits.replace_text(file.uri, quoted_uri(&after));
        }
        Ok(())
    })?;
    if let Some((buffer, bytes)) = chunk {
        let path = separate.free_path(Path::new(&format!("{name}.bin")));
        edits.add_member(&buffer, vec![Piece::New(format!(r#""uri":{}"#, quoted_uri(&path)))]);
        separate.files.push((path, bytes));
    }
    let json = edits.apply();
    let lengths = separate.files.iter().map(|(_, content)| content.length());
    limit.check(lengths.fold(json.length(), u64::saturating_add))?;
    let mut written = vec![PathBuf::from(format!("{name}.gltf"))];
    write(source, &json, &folder.join(&written[0])).map_err(writing)?;
    for (path, content) in separate.files {
        copy(&content, &folder.join(&path), &source.cancel).map_err(writing)?;
        written.push(path);
    }
    Ok(written)
}

/// A reference to a file outside of the JSON.
struct FileReference<'a> {
    uri: &'a RawValue,
    path: PathBuf,
    content: ByteRange,
    /// The buffer's bytes, which may be fewer than the file has; `None` for an image.
    buffer: Option<ByteRange>,
}

/// Calls `each` with every reference to a file; returns the buffer that a glb keeps in its binary chunk, and its bytes.
fn for_each_file<'a>(
    source: &Asset,
    root: &Members<'a>,
    mut each: impl FnMut(FileReference<'a>) -> Result<(), ConversionError>,
) -> Result<Option<(Members<'a>, ByteRange)>, ConversionError> {
    let mut chunk = None;
    for (index, buffer) in root.objects("buffers")?.into_iter().enumerate() {
        let Some(bytes) = source.buffer(index, &buffer)? else { continue };
        let Some(uri) = buffer.get("uri") else {
            chunk = Some((buffer, bytes));
            continue;
        };
        if let Reference::File(content, path) = source.resolve(uri)? {
            each(FileReference { uri, path, content, buffer: Some(bytes) })?;
        }
    }
    for image in root.objects("images")? {
        let Some(uri) = image.get("uri") else { continue };
        if let Reference::File(content, path) = source.resolve(uri)? {
            each(FileReference { uri, path, content, buffer: None })?;
        }
    }
    Ok(chunk)
}

fn quoted_uri(path: &Path) -> String {
    format!("\"{}\"", uri_of(&path.to_string_lossy()))
}

/// A JSON string with `content` as base64.
fn data_uri(media_type: &str, content: ByteRange) -> [Piece; 3] {
    let head = format!(r#""data:{media_type};base64,"#);
    [Piece::New(head), Piece::Base64(content), Piece::New("\"".to_owned())]
}

fn write(source: &Asset, json: &EditedJson, target: &Path) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, File::create(target)?);
    json.write(&source.main, &source.cancel, &mut out)?;
    out.flush()
}

/// Writes `content` as the file `target`, in folders that are made for it.
pub fn copy(content: &ByteRange, target: &Path, cancel: &Cancel) -> io::Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    content.copy_to(&mut File::create(target)?, cancel)
}
