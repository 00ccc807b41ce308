//! Resolves the buffers and images of a glTF, as text or binary.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::rc::Rc;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::findings::{Findings, TOO_MANY, too_large};
use super::gltf_checks::{Buffer, Doc};
use super::rewrite::{beginning, relative, rewrite};
use crate::domain::{ConversionError, ErrorCode};
use crate::formats::gltf::asset::uri_of;
use crate::formats::gltf::glb::{self, Container};
use crate::formats::gltf::malformed;
use crate::fs::names;
use crate::intake::bounded_json;
use crate::intake::model_files::{Files, Resolved};
use crate::intake::source::unreadable;

/// Most memory that a value of the JSON takes while it is read, and while it is rewritten, in bytes.
const READ_VALUE: u64 = 128;
const REWRITTEN_VALUE: u64 = 450;

/// Most values of JSON that is rewritten, most bytes of it with embedded data, and most bytes of new paths in it.
const MAX_REWRITTEN: u64 = 1_000_000;
const MAX_REWRITTEN_BYTES: u64 = 256 << 20;
const MAX_NEW_PATHS: u64 = 64 << 20;

/// A white pixel: an image must have content, even one that no texture shows any more.
const PLACEHOLDER: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8/5+hHgAHggJ/PchI7wAAAABJRU5ErkJggg==";

/// Positions of the JSON and of the binary chunk in the file.
#[derive(Debug)]
struct FileLayout {
    /// `None` for a text file.
    container: Option<Container>,
    json: Range<u64>,
}

impl FileLayout {
    fn read(files: &Files, index: usize) -> Result<FileLayout, ConversionError> {
        let mut file = files.open(index).map_err(unreadable)?;
        let container = Container::read(&mut file)?;
        let json = if let Some(container) = &container {
            container.json.clone()
        } else {
            // After a byte order mark.
            let start = if beginning(files, index)?.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            start..file.metadata().map_err(unreadable)?.len()
        };
        Ok(FileLayout { container, json })
    }

    fn json_length(&self) -> u64 {
        self.json.end - self.json.start
    }
}

/// Changes of the JSON.
#[derive(Debug, Default)]
struct Changes {
    buffers: Vec<(usize, Rc<str>)>,
    images: Vec<(usize, Rc<str>)>,
    missing_images: HashSet<usize>,
    /// The escaped path of each file that has a new one.
    paths: HashMap<usize, Rc<str>>,
    /// Length of all new paths, in bytes.
    bytes: u64,
}

impl Changes {
    /// The new URI of the file `found`, which lies at `path`; `None` if the old one is right.
    ///
    /// # Errors
    /// `too_large`
    fn new_uri(&mut self, found: usize, path: &str, uri: &str) -> Result<Option<Rc<str>>, ConversionError> {
        if decoded(uri) == path {
            return Ok(None);
        }
        let path = Rc::clone(self.paths.entry(found).or_insert_with(|| uri_of(path).into()));
        self.bytes += path.len() as u64;
        if self.bytes > MAX_NEW_PATHS {
            return Err(too_large(TOO_MANY));
        }
        Ok(Some(path))
    }
}

pub fn resolve(files: &mut Files, index: usize, findings: &mut Findings) -> Result<(), ConversionError> {
    let layout = FileLayout::read(files, index)?;
    let size = measure(files, index, &layout)?;
    let reserved = files.context().reserve(size.values.saturating_mul(READ_VALUE) + size.text)?;
    let kind = if layout.container.is_some() { "glb" } else { "gltf" };
    let doc: Doc = bounded_json::read(json(files, index, &layout)?, kind)?;
    doc.check()?;
    let buffers = doc.buffers.iter().map(|buffer| &buffer.uri);
    let mut uris = buffers.chain(doc.images.iter().map(|image| &image.uri)).flatten();
    if uris.any(|uri| !is_data(uri)) {
        files.offer_siblings();
    }
    let mut changes = Changes::default();
    for (number, buffer) in doc.buffers.iter().enumerate() {
        match (&buffer.uri, &layout.container) {
            (None, Some(container)) if number == 0 => check_chunk(buffer, container)?,
            (Some(uri), _) if !is_data(uri) => {
                let found = find_buffer(files, index, uri, buffer.byte_length.0)?;
                let new = changes.new_uri(found, &relative(files, index, found), uri)?;
                changes.buffers.extend(new.map(|new| (number, new)));
            }
            _ => {}
        }
    }
    for (number, image) in doc.images.iter().enumerate() {
        let Some(uri) = image.uri.as_ref().filter(|uri| !is_data(uri)) else { continue };
        if let Resolved::Found(found) = find(files, index, uri)? {
            files.take(found)?;
            let new = changes.new_uri(found, &relative(files, index, found), uri)?;
            changes.images.extend(new.map(|new| (number, new)));
        } else {
            findings.missing_texture(&decoded(uri));
            changes.missing_images.insert(number);
        }
    }
    if changes.buffers.is_empty() && changes.images.is_empty() && changes.missing_images.is_empty() {
        // Repacking skips a byte order mark, Blender's importer does not.
        if layout.container.is_none() && layout.json.start > 0 && !files.stays() {
            rewrite(files, index, |reader, writer| {
                reader.seek(SeekFrom::Start(layout.json.start))?;
                io::copy(reader, writer).map(drop)
            })?;
        }
        return Ok(());
    }
    drop((doc, reserved));
    files.copy_in()?;
    apply(files, index, &layout, size.values, &changes)
}

/// Opens the JSON of the file.
fn json(files: &Files, index: usize, layout: &FileLayout) -> Result<impl Read, ConversionError> {
    let open = || -> io::Result<_> {
        let mut file = files.open(index)?;
        file.seek(SeekFrom::Start(layout.json.start))?;
        Ok(files.context().cancel.reader(file.take(layout.json_length())))
    };
    open().map_err(unreadable)
}

/// Measures the JSON before it is parsed, and refuses one that is too large.
fn measure(files: &Files, index: usize, layout: &FileLayout) -> Result<bounded_json::Size, ConversionError> {
    let measured = bounded_json::measure(json(files, index, layout)?);
    let size = measured.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => malformed(format!("the file cannot be read: {error}")),
        _ => unreadable(error),
    })?;
    check_size("values", size.values, bounded_json::MOST.values)?;
    check_size("bytes", size.text, bounded_json::MOST.text)?;
    Ok(size)
}

fn check_size(of_what: &str, count: u64, most: u64) -> Result<(), ConversionError> {
    if count > most {
        return Err(too_large(&format!("the JSON of the model holds more than {most} {of_what}")));
    }
    Ok(())
}

fn check_chunk(buffer: &Buffer, container: &Container) -> Result<(), ConversionError> {
    let claimed = buffer.byte_length.0;
    let available = container.bin.as_ref().map_or(0, |bin| bin.end - bin.start);
    if available < claimed {
        return Err(malformed(format!(
            "the glb file claims {claimed} bytes of geometry and holds {available}"
        )));
    }
    Ok(())
}

fn find_buffer(files: &mut Files, index: usize, uri: &str, claimed: u64) -> Result<usize, ConversionError> {
    let shown = names::quoted(&decoded(uri));
    let missing =
        |why: &str| ConversionError::new(ErrorCode::MissingFiles, format!("the buffer {shown} {why}"));
    let found = match find(files, index, uri)? {
        Resolved::Found(found) => found,
        Resolved::Missing => return Err(missing("is missing; send it together with the model")),
        Resolved::Outside => return Err(missing("lies outside the model and was not opened")),
    };
    files.take(found)?;
    let available = files.items()[found].bytes;
    if available < claimed {
        return Err(malformed(format!("the buffer {shown} should have {claimed} bytes and has {available}")));
    }
    Ok(found)
}

/// Finds the file that a URI means.
fn find(files: &mut Files, index: usize, uri: &str) -> Result<Resolved, ConversionError> {
    let decoded = decoded(uri);
    let resolved = files.resolve(index, &decoded)?;
    if matches!(resolved, Resolved::Found(_)) || decoded == uri {
        return Ok(resolved);
    }
    // Some writers do not escape: a file may be called `100%25.png`.
    let as_written = files.resolve(index, uri)?;
    Ok(if matches!(as_written, Resolved::Found(_)) { as_written } else { resolved })
}

fn decoded(uri: &str) -> String {
    names::decode(&percent_decode_str(uri).collect::<Vec<u8>>())
}

fn is_data(uri: &str) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

/// Rewrites the file with its changes; its JSON has `values` values.
fn apply(
    files: &mut Files,
    index: usize,
    layout: &FileLayout,
    values: u64,
    changes: &Changes,
) -> Result<(), ConversionError> {
    check_size("values", values, MAX_REWRITTEN)?;
    check_size("bytes, and paths of files in it must change", layout.json_length(), MAX_REWRITTEN_BYTES)?;
    let values = values.saturating_mul(REWRITTEN_VALUE);
    let _reserved = files.context().reserve(values + layout.json_length() + changes.bytes)?;
    let reader = BufReader::with_capacity(1 << 16, json(files, index, layout)?);
    let mut root: Value = serde_json::from_reader(reader).map_err(|error| {
        let wrong = "the gltf file cannot be read: its JSON is wrong";
        if error.is_io() { unreadable(error.into()) } else { malformed(wrong) }
    })?;
    for (list, uris) in [("buffers", &changes.buffers), ("images", &changes.images)] {
        let entries = entries(&mut root, list);
        for (number, uri) in uris {
            if let Some(Value::Object(entry)) = entries.get_mut(*number) {
                entry.insert("uri".to_owned(), Value::String(uri.as_ref().to_owned()));
            }
        }
    }
    remove_images(&mut root, &changes.missing_images);
    rewrite(files, index, |reader, writer| {
        if layout.container.is_none() {
            return serde_json::to_writer(writer, &root).map_err(io::Error::from);
        }
        let mut counted = Counted(0);
        serde_json::to_writer(&mut counted, &root)?;
        let padding = glb::padding(counted.0);
        let rest = reader.seek(SeekFrom::End(0))?.saturating_sub(layout.json.end);
        reader.seek(SeekFrom::Start(layout.json.end))?;
        let too_large = || io::Error::other("a glb cannot be larger than 4 GiB");
        writer.write_all(&glb::header(counted.0 + padding as u64, rest).ok_or_else(too_large)?)?;
        serde_json::to_writer(&mut *writer, &root)?;
        writer.write_all(b"   ".get(..padding).unwrap_or_default())?;
        io::copy(reader, writer).map(drop)
    })
}

/// Counts the bytes that are written.
struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn entries<'a>(root: &'a mut Value, list: &str) -> &'a mut [Value] {
    root.get_mut(list).and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default()
}

/// Removes missing images from every material. Their entries stay, since others are referred to by index.
fn remove_images(root: &mut Value, missing: &HashSet<usize>) {
    let is_missing = |value: &Value| is_in(value, missing);
    let mut gone = HashSet::new();
    for (number, texture) in entries(root, "textures").iter_mut().enumerate() {
        let Value::Object(texture) = texture else { continue };
        let mut kept = texture.get("source").is_some_and(|source| !is_missing(source));
        let mut lost = texture.get("source").is_some_and(is_missing);
        if let Some(Value::Object(extensions)) = texture.get_mut("extensions") {
            // KHR_texture_basisu, EXT_texture_webp and others name another encoding of the same picture.
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
    for number in missing {
        if let Some(Value::Object(image)) = entries(root, "images").get_mut(*number) {
            image.insert("uri".to_owned(), PLACEHOLDER.into());
            image.remove("mimeType");
        }
    }
}

/// Removes every `…Texture: { index }` that refers to one of `gone` from a material and its extensions.
fn remove_textures(value: &mut Value, gone: &HashSet<usize>) {
    match value {
        Value::Object(object) => {
            object.retain(|name, value| {
                !(name.ends_with("Texture") && value.get("index").is_some_and(|index| is_in(index, gone)))
            });
            object.values_mut().for_each(|value| remove_textures(value, gone));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| remove_textures(value, gone)),
        _ => {}
    }
}

/// Removes the textures `gone` from the metadata of VRM 0.x, which refers to them by bare numbers.
fn remove_vrm_textures(vrm: &mut Value, gone: &HashSet<usize>) {
    for property in vrm.get_mut("materialProperties").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(Value::Object(textures)) = property.get_mut("textureProperties") {
            textures.retain(|_, value| !is_in(value, gone));
        }
    }
    if let Some(Value::Object(meta)) = vrm.get_mut("meta")
        && meta.get("texture").is_some_and(|texture| is_in(texture, gone))
    {
        meta.remove("texture");
    }
}

/// Whether `value` is the index of one of `entries`.
fn is_in(value: &Value, entries: &HashSet<usize>) -> bool {
    value.as_u64().and_then(|index| usize::try_from(index).ok()).is_some_and(|index| entries.contains(&index))
}
