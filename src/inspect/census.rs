//! Takes a census of a model: what can be counted from the beginnings of its files.
//!
//! | file | counted | from |
//! | --- | --- | --- |
//! | glb, vrm, vrma, gltf | triangles, frames, images inside | their JSON, up to 8 MiB |
//! | stl, ply | triangles | the header, or the length |
//! | bvh | frames | the length |
//! | images | pixels | the header, or else the length |
//! | zip | bytes of each file in it | the list of its files |
//! | all others | bytes | the length |
//!
//! It is for estimates: what is damaged or unknown counts by its length, and is no error.

use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};

use zip::read::{ArchiveOffset, Config};
use zip::unstable::read::ZipIterable;

use super::gltf::{Announced, announced};
use super::image_size::pixels;
use crate::domain::format::IMAGES;
use crate::domain::{Census, Format};
use crate::formats::gltf::glb::{Container, MAGIC};
use crate::fs::blob::Blob;
use crate::fs::names;

/// Bytes of a file that are read. The size of an image may come after an embedded preview.
const HEAD: u64 = 64 << 10;

/// Longest JSON that is read, in bytes.
const MAX_JSON: u64 = 8 << 20;

/// Most entries of a zip, and most images inside a file, that are looked at.
const MAX_ENTRIES: usize = 2000;
const MAX_IMAGES: usize = 1000;

/// Pixels for each byte of an image whose size is not known; JPEG has up to ten.
const PIXELS_OF_A_BYTE: u64 = 4;

/// Bytes of a triangle in a text STL, at least, and of a number in a BVH.
const TEXT_STL_TRIANGLE: u64 = 150;
const BVH_NUMBER: u64 = 5;

const ZIP: &[u8] = b"PK\x03\x04";

/// Takes the census of the files of a model, each with its name as sent. `target` is the format of the result: some
/// write each copy of a mesh.
pub fn census(files: Vec<(String, Blob)>, target: Format) -> Census {
    let mut tally = Tally { copies: target.info().triangle_bytes > 0, ..Tally::default() };
    for (name, blob) in files {
        let bytes = blob.length();
        match blob {
            Blob::Memory(content) => tally.add_file(&name, bytes, Cursor::new(content)),
            Blob::File(file, _) => tally.add_file(&name, bytes, BufReader::new(file)),
        }
    }
    tally.finish()
}

#[derive(Default)]
struct Tally {
    census: Census,
    /// Whether triangles count in each copy of a mesh.
    copies: bool,
    /// Bytes of the largest uncounted file.
    largest: u64,
    /// Whether the JSON of a glTF was read, and the bytes of its buffers.
    has_gltf: bool,
    buffers: u64,
}

impl Tally {
    fn add_file(&mut self, name: &str, bytes: u64, mut content: impl Read + Seek) {
        let mut head = Vec::new();
        if content.by_ref().take(HEAD).read_to_end(&mut head).is_err() {
            return self.add(name, bytes, &[]);
        }
        let extension = names::extension(name);
        if head.starts_with(ZIP) && extension != "usdz" {
            return self.add_zip(bytes, content);
        }
        let is_gltf =
            head.starts_with(&MAGIC) || head.trim_ascii_start().starts_with(b"{") || extension == "gltf";
        if is_gltf && self.add_gltf(&mut content, bytes).is_some() {
            self.census.bytes = self.census.bytes.saturating_add(bytes);
            return;
        }
        self.add(name, bytes, &head);
    }

    /// Adds a file; `head` is its beginning, if it was read.
    fn add(&mut self, name: &str, bytes: u64, head: &[u8]) {
        let census = &mut self.census;
        census.bytes = census.bytes.saturating_add(bytes);
        let extension = names::extension(name);
        let add = |sum: &mut u64, count: u64| *sum = sum.saturating_add(count);
        if let Some(pixels) = pixels(head) {
            return add(&mut census.texture_pixels, pixels);
        }
        if IMAGES.contains(&extension.as_str()) {
            return add(&mut census.texture_pixels, bytes.saturating_mul(PIXELS_OF_A_BYTE));
        }
        match (extension.as_str(), Format::from_extension(&extension)) {
            ("mtl", _) => {}
            ("bin", _) => add(&mut self.buffers, bytes),
            (_, Some(Format::Stl)) => add(&mut census.triangles, stl(head, bytes)),
            (_, Some(Format::Bvh)) => add(&mut census.frames, bytes / BVH_NUMBER),
            (_, format) => match ply(head) {
                Some(triangles) => add(&mut census.triangles, triangles.min(bytes)),
                None => self.add_uncounted(format, bytes),
            },
        }
    }

    fn add_uncounted(&mut self, format: Option<Format>, bytes: u64) {
        let census = &mut self.census;
        census.uncounted_bytes = census.uncounted_bytes.saturating_add(bytes);
        if bytes > self.largest {
            self.largest = bytes;
            census.uncounted_format = format;
        }
    }

    /// Adds the files in a zip by their names and lengths. One that cannot be read counts as a file of its own.
    fn add_zip(&mut self, bytes: u64, content: impl Read + Seek) {
        // Entry by entry, because an index of the whole directory could take any amount of memory.
        let archive = ZipIterable::try_new(content, Config { archive_offset: ArchiveOffset::Known(0) });
        let Ok(mut archive) = archive else { return self.add("", bytes, &[]) };
        let Ok(entries) = archive.files() else { return self.add("", bytes, &[]) };
        for entry in entries.take(MAX_ENTRIES).map_while(Result::ok) {
            self.add(&names::decode(entry.name_raw()), entry.size(), &[]);
        }
    }

    /// Adds what the JSON of a glTF announces; `None` if it cannot be read.
    fn add_gltf(&mut self, content: &mut (impl Read + Seek), bytes: u64) -> Option<()> {
        let container = Container::read(content).ok()?;
        let json = container.as_ref().map_or(0..bytes, |container| container.json.clone());
        let length = (json.end - json.start).min(MAX_JSON + 1);
        if length > MAX_JSON {
            return None;
        }
        content.seek(SeekFrom::Start(json.start)).ok()?;
        let mut text = String::new();
        content.by_ref().take(length).read_to_string(&mut text).ok()?;
        let Announced { triangles, frames, images } = announced(&text, self.copies).ok()?;
        let census = &mut self.census;
        census.triangles = census.triangles.saturating_add(triangles);
        census.frames = census.frames.saturating_add(frames);
        self.has_gltf = true;
        let start = container.and_then(|container| container.bin).map(|bin| bin.start);
        for (position, length) in images.into_iter().take(MAX_IMAGES) {
            let counted = start.and_then(|start| image(content, start.saturating_add(position)));
            let pixels = counted.unwrap_or_else(|| length.saturating_mul(PIXELS_OF_A_BYTE));
            self.census.texture_pixels = self.census.texture_pixels.saturating_add(pixels);
        }
        Some(())
    }

    fn finish(mut self) -> Census {
        if !self.has_gltf {
            self.add_uncounted(None, self.buffers);
        }
        self.census
    }
}

/// The pixels of an image inside a file.
fn image(content: &mut (impl Read + Seek), position: u64) -> Option<u64> {
    let mut head = Vec::new();
    content.seek(SeekFrom::Start(position)).ok()?;
    content.by_ref().take(HEAD).read_to_end(&mut head).ok()?;
    pixels(&head)
}

/// Triangles of an STL: a binary one announces them, and has 50 bytes for each.
fn stl(head: &[u8], bytes: u64) -> u64 {
    let announced = head.get(80..).and_then(<[u8]>::first_chunk).map(|count| u32::from_le_bytes(*count));
    match announced.map(u64::from) {
        Some(count) if 84 + 50 * count == bytes => count,
        _ if head.is_empty() => bytes / 50,
        _ => bytes / TEXT_STL_TRIANGLE,
    }
}

/// Triangles of a PLY, or half its vertices if those are more, as for a cloud of points; `None` if it is no PLY.
fn ply(head: &[u8]) -> Option<u64> {
    let text = head.strip_prefix(b"ply").filter(|rest| rest.first().is_some_and(u8::is_ascii_whitespace))?;
    let (mut vertices, mut faces) = (0_u64, 0_u64);
    let lines = text.split(|byte| matches!(byte, b'\n' | b'\r'));
    for line in lines.take_while(|line| !line.starts_with(b"end_header")) {
        let line = String::from_utf8_lossy(line);
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["element", "vertex", count] => vertices = count.parse().unwrap_or_default(),
            ["element", "face", count] => faces = count.parse().unwrap_or_default(),
            _ => {}
        }
    }
    Some(faces.max(vertices / 2))
}
