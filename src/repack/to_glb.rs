//! Writes glTF as GLB: every buffer and image becomes a part of the one binary chunk.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::SizeLimit;
use crate::domain::{ConversionError, ErrorCode};
use crate::formats::gltf::asset::{Asset, Reference};
use crate::formats::gltf::byte_range::ByteRange;
use crate::formats::gltf::json_text::{self, Edits, Members, Piece};
use crate::formats::gltf::{glb, malformed, unreadable};

/// The binary chunk of the result; parts have their offsets.
#[derive(Default)]
struct Chunk {
    parts: Vec<(u64, ByteRange)>,
    length: u64,
}

impl Chunk {
    /// Adds `part` at a multiple of 4, as accessors need it; returns its offset.
    fn add(&mut self, part: ByteRange) -> u64 {
        let offset = self.length + glb::padding(self.length) as u64;
        self.length = offset + part.length();
        self.parts.push((offset, part));
        offset
    }
}

/// The new position of a buffer.
#[derive(Clone, Copy)]
struct Position {
    buffer: usize,
    offset: u64,
}

/// Writes `source` as a self-contained glb at `target`.
///
/// Joined buffers keep the name and the extras of the first one.
///
/// # Errors
/// `missing_files` or `import_failed` when bytes of the model are missing, `export_failed` above 4 GiB,
/// `output_too_large` when the model repeats bytes.
pub fn write_glb(source: &Asset, target: &Path, limit: SizeLimit) -> Result<(), ConversionError> {
    let root = Members::parse(source.json.text())?;
    let mut edits = Edits::default();
    let mut chunk = Chunk::default();

    let buffers = root.objects("buffers")?;
    let found: Vec<Option<ByteRange>> = buffers
        .iter()
        .enumerate()
        .map(|(index, buffer)| source.buffer(index, buffer))
        .collect::<Result<_, _>>()?;
    let mut absent = 0;
    let mut positions: Vec<Position> = Vec::new();
    for bytes in &found {
        positions.push(if let Some(bytes) = bytes {
            Position { buffer: 0, offset: chunk.add(bytes.clone()) }
        } else {
            absent += 1;
            Position { buffer: absent, offset: 0 }
        });
    }
    let views: Vec<Members> = root.objects("bufferViews")?;
    let new_views = embed_images(source, &root, views.len(), &mut chunk, &mut edits)?;
    limit.check(chunk.length.saturating_add(source.json.text().len() as u64))?;
    if chunk.parts.is_empty() {
        // No bytes were added, so buffers without bytes keep their indices.
        return write(source, edits, &chunk, target);
    }
    for view in &views {
        move_view(source, view, &positions, &mut edits)?;
        for extension in view.read::<Members>("extensions")?.iter().flat_map(|extensions| &extensions.0) {
            // EXT_meshopt_compression and similar extensions refer to a buffer of their own.
            if let Ok(extension) = Members::parse(extension.1.get()) {
                move_view(source, &extension, &positions, &mut edits)?;
            }
        }
    }
    extend_array(source, &root, "bufferViews", &views, &new_views, &mut edits);
    join_buffers(source, &root, &buffers, &found, chunk.length, &mut edits);
    write(source, edits, &chunk, target)
}

/// Adds images in files and `data:` URIs to the chunk; returns their new buffer views.
fn embed_images(
    source: &Asset,
    root: &Members,
    first_view: usize,
    chunk: &mut Chunk,
    edits: &mut Edits,
) -> Result<Vec<String>, ConversionError> {
    let mut views = Vec::new();
    let mut files: HashMap<PathBuf, usize> = HashMap::new();
    for raw in root.read::<Vec<&RawValue>>("images")?.unwrap_or_default() {
        let image = Members::parse(raw.get())?;
        let Some(uri) = image.get("uri").filter(|_| image.get("bufferView").is_none()) else { continue };
        let (bytes, written_type, file) = match source.resolve(uri)? {
            Reference::Data(bytes, media_type) => (bytes, media_type, None),
            Reference::File(bytes, path) => (bytes, String::new(), Some(path)),
            // A missing texture stays a reference; `inspect` reports it.
            Reference::Missing(_) => continue,
        };
        let media_type = media_type(&bytes, &written_type, file.as_deref())?;
        let known = file.as_ref().and_then(|path| files.get(path)).copied();
        let view = known.unwrap_or_else(|| {
            let length = bytes.length();
            let offset = chunk.add(bytes);
            views.push(format!(r#"{{"buffer":0,"byteOffset":{offset},"byteLength":{length}}}"#));
            first_view + views.len() - 1
        });
        files.extend(file.map(|path| (path, view)));

        let mut instead = format!(r#""bufferView":{view}"#);
        if image.get("mimeType").is_none() {
            instead = format!(r#"{instead},"mimeType":"{media_type}""#);
        }
        edits.replace(source.json.span(raw), rewritten(source, &image, &[("uri", &instead)]));
    }
    Ok(views)
}

/// Finds the media type of an image: by its first bytes, else as written in its URI, else by its name.
pub fn media_type(image: &ByteRange, written: &str, name: Option<&Path>) -> Result<String, ConversionError> {
    let mut head = Vec::new();
    let read = image.open(0, 12).and_then(|mut reader| reader.read_to_end(&mut head));
    read.map_err(|error| unreadable("an image", &error))?;
    let extension = name.and_then(Path::extension).unwrap_or_default().to_ascii_lowercase();
    let clean =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/+-._".contains(&byte));
    Ok(match head.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [0xab, b'K', b'T', b'X', b' ', b'2', b'0', ..] => "image/ktx2",
        [b'D', b'D', b'S', b' ', ..] => "image/vnd-ms.dds",
        _ if !written.is_empty() && clean(written) => written,
        _ => match extension.to_str() {
            Some("png") => "image/png",
            Some("jpg" | "jpeg") => "image/jpeg",
            Some("webp") => "image/webp",
            Some("ktx2") => "image/ktx2",
            _ => "application/octet-stream",
        },
    }
    .to_owned())
}

/// The pieces of the object `members`, in which each of the `replaced` members becomes the given text, or is left out
/// where that is empty.
fn rewritten(source: &Asset, members: &Members, replaced: &[(&str, &str)]) -> Vec<Piece> {
    let new_text = |value: &RawValue| {
        let is_value = |name: &str| members.get(name).is_some_and(|found| std::ptr::eq(found, value));
        replaced.iter().find(|(name, _)| is_value(name)).map(|(_, text)| *text)
    };
    let mut pieces = vec![Piece::New("{".to_owned())];
    for (key, value) in &members.0 {
        let new = new_text(value);
        if new == Some("") {
            continue;
        }
        if pieces.len() > 1 {
            pieces.push(Piece::New(",".to_owned()));
        }
        pieces.push(match new {
            Some(text) => Piece::New(text.to_owned()),
            None => Piece::Kept(source.json.span(key).start..source.json.span(value).end),
        });
    }
    pieces.push(Piece::New("}".to_owned()));
    pieces
}

/// Points a buffer view, or an extension of one, to the new position of its buffer.
fn move_view(
    source: &Asset,
    view: &Members,
    positions: &[Position],
    edits: &mut Edits,
) -> Result<(), ConversionError> {
    let Some(index) = view.read::<usize>("buffer")? else { return Ok(()) };
    let position = positions.get(index).ok_or_else(|| malformed(format!("there is no buffer {index}")))?;
    let Some(buffer) = view.get("buffer") else { return Ok(()) };
    let buffer_span = source.json.span(buffer);
    let mut value = position.buffer.to_string();
    if position.offset > 0 {
        let old: u64 = view.read("byteOffset")?.unwrap_or(0);
        let new = old.saturating_add(position.offset);
        match view.get("byteOffset") {
            Some(written) => {
                edits.replace(source.json.span(written), vec![Piece::New(new.to_string())]);
            }
            None => value = format!(r#"{value},"byteOffset":{new}"#),
        }
    }
    if value != buffer.get() {
        edits.replace(buffer_span, vec![Piece::New(value)]);
    }
    Ok(())
}

/// Adds the `new` values to the array `name`, which has the `old` ones or does not exist.
fn extend_array(
    source: &Asset,
    root: &Members,
    name: &str,
    old: &[Members],
    new: &[String],
    edits: &mut Edits,
) {
    if new.is_empty() {
        return;
    }
    let new = new.join(",");
    if let Some(array) = root.get(name) {
        let comma = if old.is_empty() { "" } else { "," };
        edits.insert(source.json.span(array).end - 1, format!("{comma}{new}"));
    } else {
        add_member(source, root, &format!(r#""{name}":[{new}]"#), edits);
    }
}

/// Adds `member` at the end of `object`, which has other members.
pub fn add_member(source: &Asset, object: &Members, member: &str, edits: &mut Edits) {
    if let Some((_, last)) = object.0.last() {
        edits.insert(source.json.span(last).end, format!(",{member}"));
    }
}

/// Rewrites the list of buffers: the joined buffer comes first, then those without bytes.
fn join_buffers(
    source: &Asset,
    root: &Members,
    buffers: &[Members],
    found: &[Option<ByteRange>],
    length: u64,
    edits: &mut Edits,
) {
    let Some(array) = root.get("buffers") else {
        return add_member(source, root, &format!(r#""buffers":[{{"byteLength":{length}}}]"#), edits);
    };
    let (with_bytes, without): (Vec<_>, Vec<_>) =
        buffers.iter().zip(found).partition(|(_, bytes)| bytes.is_some());
    let length = format!(r#""byteLength":{length}"#);
    let mut pieces = vec![Piece::New("[".to_owned())];
    match with_bytes.first() {
        Some((first, _)) => pieces.extend(rewritten(source, first, &[("uri", ""), ("byteLength", &length)])),
        None => pieces.push(Piece::New(format!("{{{length}}}"))),
    }
    for (buffer, _) in without {
        pieces.push(Piece::New(",".to_owned()));
        pieces.extend(rewritten(source, buffer, &[]));
    }
    pieces.push(Piece::New("]".to_owned()));
    edits.replace(source.json.span(array), pieces);
}

fn write(source: &Asset, edits: Edits, chunk: &Chunk, target: &Path) -> Result<(), ConversionError> {
    let pieces = edits.apply(&source.json);
    let json_length = json_text::length(&source.json, &pieces);
    let json_padding = glb::padding(json_length);
    let bin_padding = glb::padding(chunk.length);
    let others = source.container.as_ref().map_or(&[][..], |container| &container.others);
    let bin_length = chunk.length + bin_padding as u64;
    let bin_header =
        if bin_length > 0 { [(bin_length as u32).to_le_bytes(), glb::BIN].concat() } else { Vec::new() };
    let rest = bin_header.len() as u64
        + bin_length
        + others.iter().map(|other| other.end - other.start).sum::<u64>();
    let header = glb::header(json_length + json_padding as u64, rest)
        .ok_or_else(|| ConversionError::new(ErrorCode::ExportFailed, "a glb cannot be larger than 4 GiB"))?;
    let all = || -> io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 16, File::create(target)?);
        out.write_all(&header)?;
        json_text::write(&source.json, &pieces, &source.main, &source.cancel, &mut out)?;
        out.write_all(&b"   "[..json_padding.min(3)])?;
        out.write_all(&bin_header)?;
        let mut out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let mut written = 0;
        for (offset, part) in &chunk.parts {
            out.write_all(&[0; 3][..(offset - written).min(3) as usize])?;
            part.copy_to(&mut out, &source.cancel)?;
            written = offset + part.length();
        }
        out.write_all(&[0; 3][..bin_padding.min(3)])?;
        for other in others {
            let mut file = source.main.open()?;
            file.seek(SeekFrom::Start(other.start))?;
            io::copy(&mut file.take(other.end - other.start), &mut out)?;
        }
        Ok(())
    };
    all().map_err(writing)
}

/// The error of writing a result: the model may be to blame as well.
#[allow(clippy::needless_pass_by_value)] // the signature of `map_err`
pub fn writing(error: io::Error) -> ConversionError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => unreadable("a buffer", &error),
        _ => ConversionError::io("write the result", &error),
    }
}
