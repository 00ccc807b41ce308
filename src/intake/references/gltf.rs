//! glTF, as JSON or binary: its buffers and images.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value};

use super::super::files::{Files, Resolved};
use super::super::json;
use super::super::names;
use super::gltf_checks::{Buffer, Doc};
use super::{Findings, beginning, relative, rewrite};
use crate::domain::{ConversionError, ErrorCode};

/// What is escaped in a path that is written as a URI.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// A byte order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Most memory that a value of the JSON takes while it is looked at, and while it is rewritten, in bytes.
const READ_VALUE: u64 = 128;
const REWRITTEN_VALUE: u64 = 450;

/// Most values of JSON that is rewritten.
const MAX_REWRITTEN: u64 = 1_000_000;

/// A white pixel: an image entry must have content, even one that nothing shows any more.
const PLACEHOLDER: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8/5+hHgAHggJ/PchI7wAAAABJRU5ErkJggg==";

/// Where the JSON and the binary chunk lie in the file.
#[derive(Debug, Clone, Copy)]
struct Layout {
    binary: bool,
    json_at: u64,
    json_length: u64,
    /// Length of the binary chunk, if there is one.
    chunk: Option<u64>,
}

impl Layout {
    /// Whether the file begins with a byte order mark. The native lane passes it by, Blender's importer does not.
    fn has_mark(self) -> bool {
        !self.binary && self.json_at > 0
    }
}

/// What has to change in the JSON.
#[derive(Debug, Default)]
struct Changes {
    buffers: Vec<(usize, String)>,
    images: Vec<(usize, String)>,
    missing_images: HashSet<usize>,
}

pub fn resolve(files: &mut Files, index: usize, findings: &mut Findings) -> Result<(), ConversionError> {
    let layout = layout(files, index)?;
    let values = count_values(files, index, layout, json::MAX_VALUES)?;
    let reserved = files.context().reserve(values.saturating_mul(READ_VALUE))?;
    let doc: Doc = json::read(section(files, index, layout)?, if layout.binary { "glb" } else { "gltf" })?;
    doc.check()?;
    let buffers = doc.buffers.0.iter().map(|buffer| &buffer.uri);
    let mut uris = buffers.chain(doc.images.0.iter().map(|image| &image.uri)).flatten();
    if uris.any(|uri| !is_data(uri)) {
        files.look_around();
    }
    let mut changes = Changes::default();
    for (number, buffer) in doc.buffers.0.iter().enumerate() {
        match &buffer.uri {
            None if number == 0 && layout.binary => check_chunk(buffer, layout)?,
            None => {}
            Some(uri) if is_data(uri) => {}
            Some(uri) => {
                let found = find_buffer(files, index, uri, buffer)?;
                changes.buffers.extend(changed(files, index, found, uri).map(|uri| (number, uri)));
            }
        }
    }
    for (number, image) in doc.images.0.iter().enumerate() {
        files.context().cancel.check()?;
        let Some(uri) = image.uri.as_ref().filter(|uri| !is_data(uri)) else { continue };
        if let Some(found) = find(files, index, uri).0 {
            files.take(found)?;
            changes.images.extend(changed(files, index, found, uri).map(|uri| (number, uri)));
        } else {
            findings.missing_texture(&decoded(uri));
            changes.missing_images.insert(number);
        }
    }
    if changes.buffers.is_empty() && changes.images.is_empty() && changes.missing_images.is_empty() {
        return if layout.has_mark() && !files.stays() { drop_mark(files, index) } else { Ok(()) };
    }
    drop((doc, reserved));
    files.bring_in()?;
    apply(files, index, layout, &changes)
}

fn layout(files: &Files, index: usize) -> Result<Layout, ConversionError> {
    let head = beginning(files, index)?;
    let unreadable = |error: io::Error| ConversionError::io("read the model", &error);
    let mut file = files.open(index).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    if !head.starts_with(b"glTF") {
        let json_at = if head.starts_with(MARK) { MARK.len() as u64 } else { 0 };
        return Ok(Layout { binary: false, json_at, json_length: length - json_at, chunk: None });
    }
    let early = || ConversionError::new(ErrorCode::ImportFailed, "the glb file ends early");
    let word = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes).map(u64::from)
    };
    let json_length = word(&head, 12).ok_or_else(early)?;
    if word(&head, 8).ok_or_else(early)? > length {
        return Err(early());
    }
    let mut next = Vec::new();
    file.seek(SeekFrom::Start(20 + json_length)).map_err(unreadable)?;
    file.take(8).read_to_end(&mut next).map_err(unreadable)?;
    let chunk = word(&next, 0).filter(|_| next.ends_with(b"BIN\0"));
    if chunk.is_some_and(|chunk| 28 + json_length + chunk > length) {
        return Err(early());
    }
    Ok(Layout { binary: true, json_at: 20, json_length, chunk })
}

/// The JSON of the file.
fn section(files: &Files, index: usize, layout: Layout) -> Result<io::Take<File>, ConversionError> {
    let open = || -> io::Result<io::Take<File>> {
        let mut file = files.open(index)?;
        file.seek(SeekFrom::Start(layout.json_at))?;
        Ok(file.take(layout.json_length))
    };
    open().map_err(|error| ConversionError::io("read the model", &error))
}

/// How many values the JSON holds, before any of it is parsed.
fn count_values(files: &Files, index: usize, layout: Layout, most: u64) -> Result<u64, ConversionError> {
    let counted = json::count_values(section(files, index, layout)?);
    let values = counted.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => {
            ConversionError::new(ErrorCode::ImportFailed, format!("the file cannot be read: {error}"))
        }
        _ => ConversionError::io("read the model", &error),
    })?;
    if values > most {
        let detail = format!("the JSON of the model holds {values} values, more than the {most} allowed");
        return Err(ConversionError::new(ErrorCode::TooLarge, detail));
    }
    Ok(values)
}

fn check_chunk(buffer: &Buffer, layout: Layout) -> Result<(), ConversionError> {
    if layout.chunk.unwrap_or_default() >= buffer.byte_length.0 {
        return Ok(());
    }
    let (wanted, there) = (buffer.byte_length.0, layout.chunk.unwrap_or_default());
    let detail = format!("the glb file claims {wanted} bytes of geometry and holds {there}");
    Err(ConversionError::new(ErrorCode::ImportFailed, detail))
}

fn find_buffer(
    files: &mut Files,
    index: usize,
    uri: &str,
    buffer: &Buffer,
) -> Result<usize, ConversionError> {
    let shown = names::quoted(&decoded(uri));
    let (found, outside) = find(files, index, uri);
    let Some(found) = found else {
        let detail = if outside {
            format!("the buffer {shown} lies outside the model and was not opened")
        } else {
            format!("the buffer {shown} is missing; send it together with the model")
        };
        return Err(ConversionError::new(ErrorCode::MissingFiles, detail));
    };
    files.take(found)?;
    let there = files.item(found).map_or(0, |item| item.bytes);
    if there < buffer.byte_length.0 {
        let detail = format!("the buffer {shown} should have {} bytes and has {there}", buffer.byte_length.0);
        return Err(ConversionError::new(ErrorCode::ImportFailed, detail));
    }
    Ok(found)
}

/// The file that a URI means, and whether it means one outside the model.
fn find(files: &Files, index: usize, uri: &str) -> (Option<usize>, bool) {
    let from = files.item(index).map_or("", |item| item.name.as_str());
    // Some writers do not escape, and a file may really be called `100%25.png`.
    match (files.resolve(from, &decoded(uri)), files.resolve(from, uri)) {
        (Resolved::Found(found), _) | (_, Resolved::Found(found)) => (Some(found), false),
        (Resolved::Outside, _) => (None, true),
        _ => (None, false),
    }
}

/// The URI that has to be written for the file, if it is not the one that is there.
fn changed(files: &Files, index: usize, found: usize, uri: &str) -> Option<String> {
    let path = relative(files, index, found);
    (decoded(uri) != path).then(|| utf8_percent_encode(&path, ESCAPED).to_string())
}

fn decoded(uri: &str) -> String {
    names::decode(&percent_decode_str(uri).collect::<Vec<u8>>())
}

fn is_data(uri: &str) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

fn apply(files: &Files, index: usize, layout: Layout, changes: &Changes) -> Result<(), ConversionError> {
    let values = count_values(files, index, layout, MAX_REWRITTEN)?;
    let _reserved = files.context().reserve(values.saturating_mul(REWRITTEN_VALUE))?;
    let parsed: Result<Value, _> =
        serde_json::from_reader(BufReader::with_capacity(1 << 16, section(files, index, layout)?));
    let mut root = parsed.map_err(|_| {
        ConversionError::new(ErrorCode::ImportFailed, "the gltf file cannot be read: its JSON is wrong")
    })?;
    set_uris(&mut root, "buffers", &changes.buffers);
    set_uris(&mut root, "images", &changes.images);
    remove_images(&mut root, &changes.missing_images);
    rewrite(files, index, |reader, writer| {
        if !layout.binary {
            return serde_json::to_writer(writer, &root).map_err(io::Error::from);
        }
        let mut text = serde_json::to_vec(&root)?;
        text.resize(text.len().next_multiple_of(4), b' ');
        let end = layout.json_at + layout.json_length;
        let rest = reader.seek(SeekFrom::End(0))?.saturating_sub(end);
        reader.seek(SeekFrom::Start(end))?;
        let word = |length: u64| u32::try_from(length).map(u32::to_le_bytes).map_err(io::Error::other);
        writer.write_all(b"glTF\x02\0\0\0")?;
        writer.write_all(&word(20 + text.len() as u64 + rest)?)?;
        writer.write_all(&word(text.len() as u64)?)?;
        writer.write_all(b"JSON")?;
        writer.write_all(&text)?;
        io::copy(reader, writer).map(|_| ())
    })
}

fn drop_mark(files: &Files, index: usize) -> Result<(), ConversionError> {
    rewrite(files, index, |reader, writer| {
        reader.seek(SeekFrom::Start(MARK.len() as u64))?;
        io::copy(reader, writer).map(drop)
    })
}

fn entries<'a>(root: &'a mut Value, list: &str) -> &'a mut [Value] {
    root.get_mut(list).and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default()
}

fn set_uris(root: &mut Value, list: &str, uris: &[(usize, String)]) {
    let entries = entries(root, list);
    for (number, uri) in uris {
        if let Some(Value::Object(entry)) = entries.get_mut(*number) {
            entry.insert("uri".to_owned(), Value::String(uri.clone()));
        }
    }
}

/// Takes images that are not there out of every material. The entries stay, as others are known by their number.
fn remove_images(root: &mut Value, missing: &HashSet<usize>) {
    let is_missing = |value: &Value| as_index(value).is_some_and(|index| missing.contains(&index));
    let mut gone = HashSet::new();
    for (number, texture) in entries(root, "textures").iter_mut().enumerate() {
        let Value::Object(texture) = texture else { continue };
        let mut kept = texture.get("source").is_some_and(|source| !is_missing(source));
        let mut lost = texture.get("source").is_some_and(is_missing);
        if let Some(Value::Object(extensions)) = texture.get_mut("extensions") {
            // KHR_texture_basisu, EXT_texture_webp and their like name a better image of the same picture.
            extensions.retain(|_, extension| {
                let drop = extension.get("source").is_some_and(is_missing);
                kept |= !drop && extension.get("source").is_some();
                lost |= drop;
                !drop
            });
        }
        if lost && !kept {
            gone.insert(number);
        } else if texture.get("source").is_some_and(is_missing) {
            texture.remove("source");
        }
    }
    for material in entries(root, "materials") {
        remove_textures(material, &gone);
    }
    if let Some(vrm) = root.pointer_mut("/extensions/VRM") {
        remove_vrm_textures(vrm, &gone);
    }
    set_uris(
        root,
        "images",
        &missing.iter().map(|number| (*number, PLACEHOLDER.to_owned())).collect::<Vec<_>>(),
    );
    for number in missing {
        if let Some(Value::Object(image)) = entries(root, "images").get_mut(*number) {
            image.remove("mimeType");
        }
    }
}

/// Removes from a material, its extensions included, every `…Texture: { index }` that shows one of `gone`.
fn remove_textures(value: &mut Value, gone: &HashSet<usize>) {
    match value {
        Value::Object(object) => {
            let shows = |name: &str, value: &Value| {
                name.ends_with("Texture")
                    && value.get("index").and_then(as_index).is_some_and(|i| gone.contains(&i))
            };
            object.retain(|name, value| !shows(name, value));
            object.values_mut().for_each(|value| remove_textures(value, gone));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| remove_textures(value, gone)),
        _ => {}
    }
}

/// VRM 0.x names textures by bare numbers.
fn remove_vrm_textures(vrm: &mut Value, gone: &HashSet<usize>) {
    let is_gone = |value: &Value| as_index(value).is_some_and(|index| gone.contains(&index));
    let forget = |object: &mut Map<String, Value>| object.retain(|_, value| !is_gone(value));
    if let Some(properties) = vrm.get_mut("materialProperties").and_then(Value::as_array_mut) {
        for property in properties {
            if let Some(Value::Object(textures)) = property.get_mut("textureProperties") {
                forget(textures);
            }
        }
    }
    if let Some(Value::Object(meta)) = vrm.get_mut("meta")
        && meta.get("texture").is_some_and(is_gone)
    {
        meta.remove("texture");
    }
}

fn as_index(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|index| usize::try_from(index).ok())
}
