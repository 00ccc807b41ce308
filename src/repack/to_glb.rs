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
use crate::formats::gltf::json_text::{Edits, Members, Piece};
use crate::formats::gltf::{glb, malformed, unreadable};

/// Writes `source` as a self-contained glb at `target`.
///
/// Joined buffers keep the name and the extras of the first one.
///
/// # Errors
/// `missing_files` or `import_failed` when bytes of the model are missing, `export_failed` above 4 GiB,
/// `output_too_large` when the model repeats bytes.
pub fn write_glb(source: &Asset, target: &Path, limit: SizeLimit) -> Result<(), ConversionError> {
    let root = Members::parse(source.json.text())?;
    let mut glb = GlbWriter { source, edits: Edits::new(&source.json), parts: Vec::new(), length: 0 };
    // For each buffer, its new index and the offset in there: those with bytes become the first one.
    let mut moved: Vec<(usize, u64)> = Vec::new();
    let (mut first, mut without) = (None, Vec::new());
    for (index, buffer) in root.objects("buffers")?.into_iter().enumerate() {
        if let Some(bytes) = source.buffer(index, &buffer)? {
            moved.push((0, glb.add(bytes)));
            first = first.or(Some(buffer));
        } else {
            without.push(buffer);
            moved.push((without.len(), 0));
        }
    }
    let views = root.objects("bufferViews")?;
    let new_views = glb.embed_images(&root, views.len())?.join(",");
    limit.check(glb.length.saturating_add(source.json.text().len() as u64))?;
    if glb.parts.is_empty() {
        // No bytes were added, so buffers without bytes keep their indices.
        return glb.write(target);
    }
    for view in &views {
        glb.move_view(view, &moved)?;
        let extensions = view.read::<Members>("extensions")?;
        for (_, extension) in extensions.iter().flat_map(|extensions| &extensions.0) {
            // EXT_meshopt_compression and similar extensions refer to a buffer of their own.
            if let Ok(extension) = Members::parse(extension.get()) {
                glb.move_view(&extension, &moved)?;
            }
        }
    }
    match root.get("bufferViews") {
        _ if new_views.is_empty() => {}
        Some(list) if views.is_empty() => glb.edits.extend_list(list, new_views),
        Some(list) => glb.edits.extend_list(list, format!(",{new_views}")),
        None => glb.add_list(&root, "bufferViews", &new_views),
    }
    glb.join_buffers(&root, first.as_ref(), &without);
    glb.write(target)
}

/// A glb in the making: changes of the JSON, and the binary chunk.
struct GlbWriter<'a> {
    source: &'a Asset,
    edits: Edits<'a>,
    /// The parts of the binary chunk with their offsets.
    parts: Vec<(u64, ByteRange)>,
    /// Length of the binary chunk, in bytes.
    length: u64,
}

impl GlbWriter<'_> {
    /// Adds `part` to the chunk at a multiple of 4, as accessors need it; returns its offset.
    fn add(&mut self, part: ByteRange) -> u64 {
        let offset = self.length + glb::padding(self.length) as u64;
        self.length = offset + part.length();
        self.parts.push((offset, part));
        offset
    }

    /// Adds images in files and `data:` URIs to the chunk; returns their new buffer views.
    fn embed_images(&mut self, root: &Members, first_view: usize) -> Result<Vec<String>, ConversionError> {
        let mut views = Vec::new();
        let mut files: HashMap<PathBuf, usize> = HashMap::new();
        for raw in root.read::<Vec<&RawValue>>("images")?.unwrap_or_default() {
            let image = Members::parse(raw.get())?;
            let Some(uri) = image.get("uri").filter(|_| image.get("bufferView").is_none()) else { continue };
            let (bytes, written_type, file) = match self.source.resolve(uri)? {
                Reference::Data(bytes, media_type) => (bytes, media_type, None),
                Reference::File(bytes, path) => (bytes, String::new(), Some(path)),
                // A missing texture stays a reference; `inspect` reports it.
                Reference::Missing(_) => continue,
            };
            let media_type = media_type(&bytes, &written_type, file.as_deref())?;
            let embedded = file.as_ref().and_then(|path| files.get(path)).copied();
            let view = embedded.unwrap_or_else(|| {
                let length = bytes.length();
                let offset = self.add(bytes);
                views.push(format!(r#"{{"buffer":0,"byteOffset":{offset},"byteLength":{length}}}"#));
                first_view + views.len() - 1
            });
            files.extend(file.map(|path| (path, view)));

            let mut instead = format!(r#""bufferView":{view}"#);
            if image.get("mimeType").is_none() {
                instead = format!(r#"{instead},"mimeType":"{media_type}""#);
            }
            let image = self.rewritten(&image, &[("uri", &instead)]);
            self.edits.replace(raw, image);
        }
        Ok(views)
    }

    /// The pieces of the object `members`, in which each of the `replaced` members becomes the given text, or is left
    /// out where that is empty.
    fn rewritten(&self, members: &Members, replaced: &[(&str, &str)]) -> Vec<Piece> {
        let span = |value: &RawValue| self.source.json.span(value);
        let mut pieces = vec![Piece::New("{".to_owned())];
        for (key, value) in &members.0 {
            let is_value = |name: &str| members.get(name).is_some_and(|found| std::ptr::eq(found, *value));
            let new = replaced.iter().find(|(name, _)| is_value(name)).map(|(_, text)| *text);
            if new == Some("") {
                continue;
            }
            if pieces.len() > 1 {
                pieces.push(Piece::New(",".to_owned()));
            }
            pieces.push(match new {
                Some(text) => Piece::New(text.to_owned()),
                None => Piece::Kept(span(key).start..span(value).end),
            });
        }
        pieces.push(Piece::New("}".to_owned()));
        pieces
    }

    /// Points a buffer view, or an extension of one, to the new position of its buffer.
    fn move_view(&mut self, view: &Members, moved: &[(usize, u64)]) -> Result<(), ConversionError> {
        let (Some(index), Some(buffer)) = (view.read::<usize>("buffer")?, view.get("buffer")) else {
            return Ok(());
        };
        let (new_index, offset) =
            *moved.get(index).ok_or_else(|| malformed(format!("there is no buffer {index}")))?;
        let mut value = new_index.to_string();
        if offset > 0 {
            let offset = view.read::<u64>("byteOffset")?.unwrap_or(0).saturating_add(offset);
            match view.get("byteOffset") {
                Some(written) => self.edits.replace_text(written, offset.to_string()),
                None => value = format!(r#"{value},"byteOffset":{offset}"#),
            }
        }
        if value != buffer.get() {
            self.edits.replace_text(buffer, value);
        }
        Ok(())
    }

    /// Adds the list `name` with the written `values` to the JSON.
    fn add_list(&mut self, root: &Members, name: &str, values: &str) {
        self.edits.add_member(root, vec![Piece::New(format!(r#""{name}":[{values}]"#))]);
    }

    /// Rewrites the list of buffers: the joined buffer comes first, then those without bytes.
    fn join_buffers(&mut self, root: &Members, first: Option<&Members>, without: &[Members]) {
        let length = format!(r#""byteLength":{}"#, self.length);
        let Some(list) = root.get("buffers") else {
            return self.add_list(root, "buffers", &format!("{{{length}}}"));
        };
        let mut pieces = vec![Piece::New("[".to_owned())];
        match first {
            Some(first) => pieces.extend(self.rewritten(first, &[("uri", ""), ("byteLength", &length)])),
            None => pieces.push(Piece::New(format!("{{{length}}}"))),
        }
        for buffer in without {
            pieces.push(Piece::New(",".to_owned()));
            pieces.extend(self.rewritten(buffer, &[]));
        }
        pieces.push(Piece::New("]".to_owned()));
        self.edits.replace(list, pieces);
    }

    fn write(self, target: &Path) -> Result<(), ConversionError> {
        let source = self.source;
        let json = self.edits.apply();
        let json_length = json.length();
        let json_padding = glb::padding(json_length);
        let bin_padding = glb::padding(self.length);
        let bin_length = self.length + bin_padding as u64;
        let bin_header =
            if bin_length > 0 { [(bin_length as u32).to_le_bytes(), glb::BIN].concat() } else { Vec::new() };
        let others = source.container.as_ref().map_or(&[][..], |container| &container.others);
        let others_length = others.iter().map(|other| other.end - other.start).sum::<u64>();
        let rest = bin_header.len() as u64 + bin_length + others_length;
        let header = glb::header(json_length + json_padding as u64, rest).ok_or_else(|| {
            ConversionError::new(ErrorCode::ExportFailed, "a glb cannot be larger than 4 GiB")
        })?;
        let all = || -> io::Result<()> {
            let mut out = BufWriter::with_capacity(1 << 16, File::create(target)?);
            out.write_all(&header)?;
            json.write(&source.main, &source.cancel, &mut out)?;
            out.write_all(&b"   "[..json_padding.min(3)])?;
            out.write_all(&bin_header)?;
            let mut out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            let mut written = 0;
            for (offset, part) in &self.parts {
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

/// The error of writing a result: the model may be to blame as well.
#[allow(clippy::needless_pass_by_value)] // the signature of `map_err`
pub fn writing(error: io::Error) -> ConversionError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => unreadable("a buffer", &error),
        _ => ConversionError::io("write the result", &error),
    }
}
