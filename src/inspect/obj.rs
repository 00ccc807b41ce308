//! Counts an OBJ and its MTL, which are y up as Blender writes them.
//!
//! Every `o` begins an object (Blender's reader ignores groups), which counts when it has elements. Vertices count for
//! the whole file, materials when faces use them.

mod mtl;

use std::collections::BTreeSet;
use std::path::Path;

use super::extent::Extent;
use super::lines::{Lines, number, point, words};
use crate::domain::report::Counts;
use crate::domain::{Cancel, ConversionError};
use crate::formats::gltf::malformed;
use crate::formats::text::statement;

/// Most different materials or libraries that are counted; the largest real models have some thousand.
const MAX_NAMES: usize = 200_000;

/// Most bytes of such names, and of a statement that continues on several lines.
const MAX_BYTES: usize = 16 << 20;

/// Most libraries that are read, and most searches for libraries and textures.
const MAX_LIBRARIES: usize = 2000;
const MAX_SEARCHES: usize = 20_000;

/// A set of names of bounded size; it ignores further names.
#[derive(Default)]
struct Names {
    all: BTreeSet<String>,
    bytes: usize,
}

impl Names {
    fn add(&mut self, name: String) {
        if self.all.len() < MAX_NAMES && self.bytes + name.len() <= MAX_BYTES {
            self.bytes += name.len();
            self.all.insert(name);
        }
    }
}

/// The current object, as far as it was read.
#[derive(Default)]
struct Object {
    elements: bool,
    uvs: bool,
    colours: bool,
}

#[derive(Default)]
struct Reader {
    counts: Counts,
    extent: Extent,
    object: Object,
    /// Whether vertices before the first object have colours: all objects may use them.
    shared_colours: bool,
    named: bool,
    statements: u64,
    used: Names,
    libraries: Names,
}

pub fn inspect(path: &Path, cancel: &Cancel) -> Result<Counts, ConversionError> {
    let mut lines = Lines::open(path, cancel)?;
    let mut reader = Reader::default();
    let mut continued: Vec<u8> = Vec::new();
    while let Some(line) = lines.next()? {
        if let Some(start) = line.strip_suffix(b"\\") {
            if continued.len() + start.len() > MAX_BYTES {
                return Err(lines.error("goes on for too many lines"));
            }
            continued.extend_from_slice(start);
            continued.push(b' ');
            continue;
        }
        let understood = if continued.is_empty() {
            reader.line(line)
        } else {
            continued.extend_from_slice(line);
            reader.line(&std::mem::take(&mut continued))
        };
        understood.map_err(|what| lines.error(what))?;
    }
    reader.finish(path.parent().unwrap_or(Path::new("")), cancel)
}

impl Reader {
    fn line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let (keyword, rest) = statement(line);
        let mut words = words(rest);
        match keyword {
            b"v" => {
                self.extent.add(point(&mut words).ok_or("has a vertex without three numbers")?);
                self.counts.vertices += 1;
                // x y z r g b; a single number more is a weight.
                self.object.colours |= words.filter_map(number::<f64>).count() >= 3;
            }
            b"f" => {
                let mut corners = 0_u64;
                for corner in words {
                    let mut indices = corner.split(|byte| *byte == b'/');
                    let vertex = indices.next().and_then(number::<i64>);
                    vertex.ok_or("has a face whose corners are no numbers")?;
                    self.object.uvs |= indices.next().is_some_and(|uv| !uv.is_empty());
                    corners += 1;
                }
                self.counts.triangles += corners.saturating_sub(2);
                self.object.elements |= corners > 2;
            }
            b"l" | b"p" => self.object.elements = true,
            b"o" => self.next_object(),
            b"usemtl" => self.used.add(String::from_utf8_lossy(rest).into_owned()),
            b"mtllib" => self.libraries.add(String::from_utf8_lossy(rest).into_owned()),
            b"vt" | b"vn" | b"vp" | b"g" | b"s" => {}
            // Comments, and statements of curves and of other programs.
            _ => return Ok(()),
        }
        self.statements += 1;
        Ok(())
    }

    fn next_object(&mut self) {
        let object = std::mem::take(&mut self.object);
        self.shared_colours |= !self.named && object.colours;
        self.named = true;
        if object.elements {
            self.counts.objects += 1;
            self.counts.uv_layers += u64::from(object.uvs);
            self.counts.vertex_colours += u64::from(object.colours || self.shared_colours);
        }
    }

    fn finish(mut self, folder: &Path, cancel: &Cancel) -> Result<Counts, ConversionError> {
        self.next_object();
        if self.statements == 0 {
            return Err(malformed("the file is not an OBJ: not one line of it could be understood"));
        }
        if self.counts.objects == 0 && self.counts.vertices > 0 {
            self.counts.objects = 1;
            self.counts.vertex_colours = u64::from(self.shared_colours);
        }
        self.counts.meshes = self.counts.objects;
        self.counts.materials = self.used.all.len() as u64;
        self.counts.bounds_m = self.extent.0;
        let mut searches = MAX_SEARCHES;
        // A file may have many names, but is read once.
        let mut libraries = BTreeSet::new();
        for library in &self.libraries.all {
            mtl::files(folder, library, &mut searches, &mut libraries, cancel)?;
        }
        let mut textures = Names::default();
        for library in libraries.iter().take(MAX_LIBRARIES) {
            mtl::read(library, &self.used.all, |texture| textures.add(texture), cancel)?;
        }
        for texture in textures.all.iter().take(searches) {
            cancel.check()?;
            if mtl::beside(folder, texture).is_none() {
                self.counts.missing_textures.push(texture.clone());
            }
        }
        self.counts.textures = (textures.all.len() - self.counts.missing_textures.len()) as u64;
        Ok(self.counts)
    }
}
