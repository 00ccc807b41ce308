//! Counts an STL, binary or text. It is z up; every triangle has three vertices of its own.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::extent::Extent;
use super::lines::{Lines, point, words};
use super::reader::{buffered, reading, three_floats};
use crate::domain::report::Counts;
use crate::domain::{Cancel, ConversionError};
use crate::formats::gltf::malformed;

const HEADER: u64 = 84;
const RECORD: u64 = 50;

pub fn inspect(path: &Path, cancel: &Cancel) -> Result<Counts, ConversionError> {
    let mut file = File::open(path).map_err(reading)?;
    let size = file.metadata().map_err(reading)?.len();
    let mut head = Vec::new();
    (&mut file).take(HEADER).read_to_end(&mut head).map_err(reading)?;
    // A binary header may begin with "solid", too, so the size of the file decides.
    let count = head.get(80..84).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    let announced = u64::from(count);
    let expected = HEADER + announced * RECORD;
    if expected == size {
        return binary(file, announced, cancel);
    }
    if head.trim_ascii_start().get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"solid")) {
        return text(Lines::open(path, cancel)?);
    }
    if announced == 0 {
        return Err(malformed("the file is not an STL: it has no triangles"));
    }
    if expected > size {
        let found = size.saturating_sub(HEADER) / RECORD;
        return Err(malformed(format!("the file is truncated: {found} of {announced} triangles are there")));
    }
    binary(file, announced, cancel)
}

fn counted(triangles: u64, solids: u64, extent: &Extent) -> Counts {
    Counts {
        objects: solids,
        meshes: solids,
        vertices: triangles * 3,
        triangles,
        bounds_m: extent.0,
        ..Counts::default()
    }
}

/// Counts the triangles after the header, which was just read.
fn binary(file: File, triangles: u64, cancel: &Cancel) -> Result<Counts, ConversionError> {
    let mut reader = buffered(file, cancel);
    let mut extent = Extent::default();
    let mut record = [0; RECORD as usize];
    for _ in 0..triangles {
        reader.read_exact(&mut record).map_err(reading)?;
        // A normal, three corners, an attribute.
        for corner in record[12..48].as_chunks::<12>().0 {
            extent.add_z_up(three_floats(corner));
        }
    }
    Ok(counted(triangles, u64::from(triangles > 0), &extent))
}

/// The contents of a text file so far.
#[derive(Default)]
struct Solids {
    extent: Extent,
    triangles: u64,
    /// Number of solids that have facets.
    bodies: u64,
    /// Number of corners of the current facet.
    corners: u64,
    /// Number of facets of the current solid.
    facets: u64,
    open: bool,
}

fn text(mut lines: Lines) -> Result<Counts, ConversionError> {
    let mut seen = Solids::default();
    while let Some(line) = lines.next()? {
        seen.line(line).map_err(|what| lines.error(what))?;
    }
    if seen.open {
        return Err(malformed("the file is truncated: its solid has no end"));
    }
    Ok(counted(seen.triangles, seen.bodies, &seen.extent))
}

impl Solids {
    fn line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let mut words = words(line);
        let Some(word) = words.next() else { return Ok(()) };
        match word.to_ascii_lowercase().as_slice() {
            b"solid" => (self.facets, self.open) = (0, true),
            b"vertex" => {
                self.extent.add_z_up(point(&mut words).ok_or("has a vertex without three numbers")?);
                self.corners += 1;
            }
            b"endfacet" if self.corners == 3 => {
                self.triangles += 1;
                self.bodies += u64::from(self.facets == 0);
                self.facets += 1;
                self.corners = 0;
            }
            b"endfacet" => return Err("ends a facet that has not three corners"),
            b"endsolid" => self.open = false,
            b"facet" | b"outer" | b"endloop" => {}
            _ => return Err("is nothing that an STL file holds"),
        }
        Ok(())
    }
}
