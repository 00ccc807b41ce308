//! GLB → glTF, and glTF → glTF: self-contained, or with its files beside it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use serde_json::value::RawValue;

use super::SizeLimit;
use super::to_glb::{add_member, media_type, writing};
use crate::domain::{Cancel, ConversionError, Format};
use crate::formats::gltf::asset::{Asset, Reference};
use crate::formats::gltf::byte_range::ByteRange;
use crate::formats::gltf::json_text::{self, Edits, Members, Piece};
use crate::fs::names;

/// What is written as it is in a URI's path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// Files that go beside the result, by their path relative to it.
#[derive(Default)]
struct Beside {
    files: Vec<(PathBuf, ByteRange)>,
    /// Where those of the source went.
    places: HashMap<PathBuf, PathBuf>,
    /// The files' paths, and the folders above them, in lower case: some systems tell no others apart.
    taken: HashSet<String>,
    folders: HashSet<String>,
    /// The number that is next for each path, in lower case, that more than one file would have.
    numbers: HashMap<String, u64>,
}

impl Beside {
    /// Adds the file at `path` among the source's; says where it goes.
    ///
    /// What is above the source's main file cannot be above the result, which has a folder to itself.
    fn add(&mut self, source: &Asset, path: PathBuf, content: ByteRange) -> Result<PathBuf, ConversionError> {
        if let Some(known) = self.places.get(&path) {
            return Ok(known.clone());
        }
        source.cancel.check()?;
        let free = self.take(&harmless(path.strip_prefix(source.base()).unwrap_or(&path), &content)?);
        self.files.push((free.clone(), content));
        self.places.insert(path, free.clone());
        Ok(free)
    }

    /// Takes `first`, or the first of its numbered names for which no other file is in the way, on any system.
    fn take(&mut self, first: &Path) -> PathBuf {
        let name = first.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let next = self.numbers.entry(first.to_string_lossy().to_lowercase()).or_insert(1);
        loop {
            let path = match *next {
                1 => first.to_owned(),
                number => first.with_file_name(names::numbered(&name, number)),
            };
            *next += 1;
            let plain = path.to_string_lossy().to_lowercase();
            let folders = || plain.match_indices('/').filter_map(|(at, _)| plain.get(..at));
            let in_the_way = self.taken.contains(&plain)
                || self.folders.contains(&plain)
                || folders().any(|folder| self.taken.contains(folder));
            if !in_the_way {
                self.folders.extend(folders().map(str::to_owned));
                self.taken.insert(plain);
                return path;
            }
        }
    }
}

/// What a file that a model refers to is called in a result: `..\x`, `.bashrc` and `run.sh` could do harm on the disk
/// of the person who gets it. The extension is one that such results have, if need be by the file's content.
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

/// Writes `source` as the gltf `target`, in which everything is as `data:` URIs.
///
/// # Errors
/// `missing_files` or `import_failed` for a model that lacks bytes, `output_too_large` for one that repeats them.
pub fn unpack_alone(source: &Asset, target: &Path, limit: SizeLimit) -> Result<(), ConversionError> {
    let (pieces, _) = plan(source, None)?;
    limit.check(json_text::length(&source.json, &pieces))?;
    write(source, &pieces, target).map_err(|error| writing(&error))
}

/// Writes `source` as `name.gltf` in `folder` with its files beside it; returns the paths of what was written, relative
/// to it.
///
/// A glb's binary chunk becomes `name.bin` (images in it stay there: taking them out would leave holes), and files that
/// were beside the source go beside the result.
///
/// # Errors
/// As [`unpack_alone`].
pub fn unpack_beside(
    source: &Asset,
    folder: &Path,
    name: &str,
    limit: SizeLimit,
) -> Result<Vec<PathBuf>, ConversionError> {
    let (pieces, beside) = plan(source, Some(name))?;
    let main = PathBuf::from(format!("{name}.gltf"));
    let others = beside.files.iter().map(|(_, content)| content.length());
    limit.check(others.fold(json_text::length(&source.json, &pieces), u64::saturating_add))?;
    write(source, &pieces, &folder.join(&main)).map_err(|error| writing(&error))?;
    let mut written = vec![main];
    for (path, content) in beside.files {
        copy(&content, &folder.join(&path), &source.cancel).map_err(|error| writing(&error))?;
        written.push(path);
    }
    Ok(written)
}

/// The JSON that comes out, and what goes beside it, where `separate` says how that is called.
fn plan(source: &Asset, separate: Option<&str>) -> Result<(Vec<Piece>, Beside), ConversionError> {
    let root = Members::of(source.json.text())?;
    let mut edits = Edits::default();
    let mut beside = Beside::default();
    let mut chunk = None;

    for (index, buffer) in root.objects("buffers")?.iter().enumerate() {
        let Some(stretch) = source.buffer(index, buffer)? else { continue };
        match buffer.get("uri") {
            None => chunk = Some((buffer.clone(), stretch)),
            Some(uri) => {
                if let Reference::File(whole, path) = source.resolve(uri)? {
                    if separate.is_some() {
                        place(source, &mut beside, (uri, path, whole), &mut edits)?;
                    } else {
                        let uri_span = source.json.span(uri);
                        edits.replace(uri_span, data_uri("application/octet-stream", stretch));
                    }
                }
            }
        }
    }
    for image in root.objects("images")? {
        let Some(uri) = image.get("uri") else { continue };
        let Reference::File(stretch, path) = source.resolve(uri)? else { continue };
        if separate.is_some() {
            place(source, &mut beside, (uri, path, stretch), &mut edits)?;
        } else {
            let kind = media_type(&stretch, "", Some(&path))?;
            edits.replace(source.json.span(uri), data_uri(&kind, stretch));
        }
    }
    if let Some((buffer, stretch)) = chunk {
        if let Some(name) = separate {
            let path = beside.take(Path::new(&format!("{name}.bin")));
            add_member(source, &buffer, &format!(r#""uri":{}"#, quoted_uri(&path)), &mut edits);
            beside.files.push((path, stretch));
        } else if let Some((_, last)) = buffer.0.last() {
            let end = source.json.span(last).end;
            let mut pieces = vec![Piece::New(r#","uri":"#.to_owned())];
            pieces.extend(data_uri("application/octet-stream", stretch));
            edits.replace(end..end, pieces);
        }
    }
    Ok((edits.apply(&source.json), beside))
}

/// Takes a file that the source refers to along, and writes its new path where it is not as before.
fn place(
    source: &Asset,
    beside: &mut Beside,
    (uri, path, content): (&RawValue, PathBuf, ByteRange),
    edits: &mut Edits,
) -> Result<(), ConversionError> {
    let before = path.strip_prefix(source.base()).map(Path::to_owned);
    let placed = beside.add(source, path, content)?;
    let climbs = uri.get().contains("..");
    if climbs || before.is_ok_and(|before| before != placed) {
        edits.replace(source.json.span(uri), vec![Piece::New(quoted_uri(&placed))]);
    }
    Ok(())
}

fn quoted_uri(path: &Path) -> String {
    format!("\"{}\"", utf8_percent_encode(&path.to_string_lossy(), PLAIN))
}

/// A string that holds `content`.
fn data_uri(media_type: &str, content: ByteRange) -> Vec<Piece> {
    vec![
        Piece::New(format!(r#""data:{media_type};base64,"#)),
        Piece::Base64(content),
        Piece::New("\"".to_owned()),
    ]
}

fn write(source: &Asset, pieces: &[Piece], target: &Path) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, File::create(target)?);
    json_text::write(&source.json, pieces, &source.main, &source.cancel, &mut out)?;
    out.flush()
}

pub fn copy(content: &ByteRange, target: &Path, cancel: &Cancel) -> io::Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    content.copy_to(&mut File::create(target)?, cancel)
}
