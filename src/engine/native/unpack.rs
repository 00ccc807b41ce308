//! GLB → glTF, and glTF → glTF: self-contained, or with its files beside it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::json::{self, Edits, Members, Piece};
use super::pack::{add_member, media_type, writing};
use super::source::{Reference, Source};
use super::stretch::Stretch;
use crate::domain::{ConversionError, ErrorCode};

/// What is written as it is in a URI's path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Files that go beside the result, by their path relative to it.
#[derive(Default)]
struct Beside(Vec<(PathBuf, Stretch)>, HashSet<PathBuf>);

impl Beside {
    fn add(&mut self, path: PathBuf, content: Stretch) {
        if self.1.insert(path.clone()) {
            self.0.push((path, content));
        }
    }
}

/// Writes `source` as the gltf `target`, in which everything is as `data:` URIs.
///
/// `model` is the size of all the model's files.
///
/// # Errors
/// `missing_files` or `import_failed` for a model that lacks bytes, `output_too_large` for one that repeats them.
pub fn unpack_alone(source: &Source, target: &Path, model: u64) -> Result<(), ConversionError> {
    let (pieces, _) = plan(source, None)?;
    super::check_growth(model, json::length(&source.json, &pieces))?;
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
    source: &Source,
    folder: &Path,
    name: &str,
    model: u64,
) -> Result<Vec<PathBuf>, ConversionError> {
    let (pieces, beside) = plan(source, Some(name))?;
    let main = PathBuf::from(format!("{name}.gltf"));
    if beside.1.contains(&main) {
        let detail = format!("the model refers to a file {:?} of its own", format!("{name}.gltf"));
        return Err(ConversionError::new(ErrorCode::ImportFailed, detail));
    }
    super::check_growth(model, json::length(&source.json, &pieces))?;
    write(source, &pieces, &folder.join(&main)).map_err(|error| writing(&error))?;
    let mut written = vec![main];
    for (path, content) in beside.0 {
        copy(&content, &folder.join(&path)).map_err(|error| writing(&error))?;
        written.push(path);
    }
    Ok(written)
}

/// The JSON that comes out, and what goes beside it, where `separate` says how that is called.
fn plan(source: &Source, separate: Option<&str>) -> Result<(Vec<Piece>, Beside), ConversionError> {
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
                        beside.add(path, whole);
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
            beside.add(path, stretch);
        } else {
            let kind = media_type(&stretch, "", Some(&path))?;
            edits.replace(source.json.span(uri), data_uri(&kind, stretch));
        }
    }
    if let Some((buffer, stretch)) = chunk {
        if let Some(name) = separate {
            let path = free_name(name, &beside);
            let uri = utf8_percent_encode(&path, PLAIN).to_string();
            add_member(source, &buffer, &format!(r#""uri":"{uri}""#), &mut edits);
            beside.add(PathBuf::from(path), stretch);
        } else if let Some((_, last)) = buffer.0.last() {
            let end = source.json.span(last).end;
            let mut pieces = vec![Piece::New(r#","uri":"#.to_owned())];
            pieces.extend(data_uri("application/octet-stream", stretch));
            edits.replace(end..end, pieces);
        }
    }
    Ok((edits.apply(&source.json), beside))
}

/// A string that holds `content`.
fn data_uri(media_type: &str, content: Stretch) -> Vec<Piece> {
    vec![
        Piece::New(format!(r#""data:{media_type};base64,"#)),
        Piece::Base64(content),
        Piece::New("\"".to_owned()),
    ]
}

/// `name.bin`, or the next name that no other file has.
fn free_name(name: &str, beside: &Beside) -> String {
    let numbered = (1..).map(|number| format!("{name}-{number}.bin"));
    let mut names = std::iter::once(format!("{name}.bin")).chain(numbered);
    names.find(|name| !beside.1.contains(Path::new(name))).unwrap_or_default()
}

fn write(source: &Source, pieces: &[Piece], target: &Path) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, File::create(target)?);
    json::write(&source.json, pieces, &source.main, &mut out)?;
    out.flush()
}

pub fn copy(content: &Stretch, target: &Path) -> io::Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    content.copy_to(&mut File::create(target)?)
}
