//! Counts a PLY, as text or binary of either byte order. It is z up, as Blender writes it.

use std::io::{self, BufRead, Read};
use std::path::Path;

use super::extent::Extent;
use super::lines::{Lines, number};
use super::reader::{CancellableFile, reading};
use crate::domain::report::Counts;
use crate::domain::{Cancel, ConversionError};
use crate::formats::gltf::malformed;
use crate::formats::number::Number;

/// Most kinds of elements, and most properties of one.
const MAX_PROPERTIES: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Text,
    LittleEndian,
    BigEndian,
}

fn number_type(name: &str) -> Option<Number> {
    Some(match name {
        "char" | "int8" => Number::I8,
        "uchar" | "uint8" => Number::U8,
        "short" | "int16" => Number::I16,
        "ushort" | "uint16" => Number::U16,
        "int" | "int32" => Number::I32,
        "uint" | "uint32" => Number::U32,
        "float" | "float32" => Number::F32,
        "double" | "float64" => Number::F64,
        _ => return None,
    })
}

#[derive(Debug)]
struct Property {
    name: String,
    number: Number,
    /// The type of the length of a list; `None` for a single number.
    length: Option<Number>,
}

#[derive(Debug)]
struct Element {
    name: String,
    count: u64,
    properties: Vec<Property>,
}

pub fn inspect(path: &Path, cancel: &Cancel) -> Result<Counts, ConversionError> {
    let mut lines = Lines::open(path, cancel)?;
    let (encoding, elements) = header(&mut lines)?;
    let mut values = Values { reader: lines.reader, encoding };
    let mut counts = Counts::default();
    let mut extent = Extent::default();
    // An element without properties takes no bytes, so that nothing would bound its count.
    for element in elements.iter().filter(|element| !element.properties.is_empty()) {
        let (is_vertex, is_face) = (element.name == "vertex", element.name == "face");
        if is_vertex {
            let has = |name: &str| element.properties.iter().any(|property| property.name == name);
            counts.vertices = element.count;
            counts.vertex_colours = u64::from(has("red") && has("green") && has("blue"));
            let layers = [["s", "t"], ["u", "v"], ["texture_u", "texture_v"]];
            counts.uv_layers = u64::from(layers.iter().any(|[s, t]| has(s) && has(t)));
        }
        for _ in 0..element.count {
            let mut point = [f64::NAN; 3];
            for property in &element.properties {
                let value = values.property(property)?;
                match property.name.as_str() {
                    "x" => point[0] = value,
                    "y" => point[1] = value,
                    "z" => point[2] = value,
                    "vertex_indices" | "vertex_index" if is_face => {
                        let triangles = (value as u64).saturating_sub(2);
                        counts.triangles = counts.triangles.saturating_add(triangles);
                    }
                    _ => {}
                }
            }
            if is_vertex {
                extent.add_z_up(point);
            }
        }
    }
    counts.meshes = u64::from(counts.vertices > 0);
    counts.objects = counts.meshes;
    counts.bounds_m = extent.0;
    Ok(counts)
}

fn header(lines: &mut Lines) -> Result<(Encoding, Vec<Element>), ConversionError> {
    if lines.next()?.unwrap_or_default() != b"ply" {
        return Err(malformed("the file is not a PLY: it does not begin with \"ply\""));
    }
    let mut encoding = None;
    let mut elements: Vec<Element> = Vec::new();
    loop {
        let Some(line) = lines.next()? else {
            return Err(malformed("the file is truncated within its header"));
        };
        let line = String::from_utf8_lossy(line).into_owned();
        let parts: Vec<&str> = line.split_ascii_whitespace().collect();
        match parts.as_slice() {
            ["format", "ascii", ..] => encoding = Some(Encoding::Text),
            ["format", "binary_little_endian", ..] => encoding = Some(Encoding::LittleEndian),
            ["format", "binary_big_endian", ..] => encoding = Some(Encoding::BigEndian),
            ["comment" | "obj_info", ..] | [] => {}
            ["element", name, count] if elements.len() < MAX_PROPERTIES => {
                let count =
                    count.parse().map_err(|_| lines.error("does not say how many elements there are"))?;
                elements.push(Element { name: (*name).to_owned(), count, properties: Vec::new() });
            }
            ["property", words @ ..] => {
                let element = elements.last_mut().filter(|element| element.properties.len() < MAX_PROPERTIES);
                let (Some(property), Some(element)) = (property(words), element) else {
                    return Err(lines.error("is a property that cannot be read"));
                };
                element.properties.push(property);
            }
            ["end_header"] => break,
            _ => return Err(lines.error("is nothing that a PLY header holds")),
        }
    }
    let encoding = encoding.ok_or_else(|| malformed("the file does not say how its numbers are written"))?;
    Ok((encoding, elements))
}

fn property(words: &[&str]) -> Option<Property> {
    let (length, number, name) = match words {
        ["list", length, number, name] => (Some(number_type(length)?), number, name),
        [number, name] => (None, number, name),
        _ => return None,
    };
    Some(Property { name: (*name).to_owned(), number: number_type(number)?, length })
}

/// Reads the numbers of the body one after the other.
struct Values {
    reader: CancellableFile,
    encoding: Encoding,
}

impl Values {
    /// Reads a property; returns its value, or the length of a list.
    fn property(&mut self, property: &Property) -> Result<f64, ConversionError> {
        let Some(length) = property.length else { return self.number(property.number) };
        let length = self.number(length)?;
        if length < 0.0 || length.fract() != 0.0 {
            return Err(malformed("a list in the file has an invalid length"));
        }
        let count = length as u64;
        if self.encoding == Encoding::Text {
            for _ in 0..count {
                self.number(property.number)?;
            }
        } else {
            let bytes = count.saturating_mul(property.number.size() as u64);
            let skipped = io::copy(&mut (&mut self.reader).take(bytes), &mut io::sink());
            if skipped.map_err(reading)? < bytes {
                return Err(reading(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(length)
    }

    fn number(&mut self, kind: Number) -> Result<f64, ConversionError> {
        if self.encoding == Encoding::Text {
            return self.word();
        }
        let mut bytes = [0; 8];
        let used = bytes.get_mut(..kind.size()).unwrap_or_default();
        self.reader.read_exact(used).map_err(reading)?;
        if self.encoding == Encoding::BigEndian {
            used.reverse();
        }
        Ok(kind.read(&bytes))
    }

    /// Reads the next number of a text file.
    fn word(&mut self) -> Result<f64, ConversionError> {
        let mut word = [0; 64];
        let mut length = 0;
        while let Some(&byte) = self.reader.fill_buf().map_err(reading)?.first() {
            self.reader.consume(1);
            match (byte.is_ascii_whitespace(), word.get_mut(length)) {
                (true, _) if length > 0 => break,
                (true, _) => {}
                (false, Some(place)) => {
                    *place = byte;
                    length += 1;
                }
                (false, None) => return Err(malformed("a number in the file is too long")),
            }
        }
        if length == 0 {
            return Err(reading(io::ErrorKind::UnexpectedEof.into()));
        }
        let text = word.get(..length).unwrap_or_default();
        number(text).ok_or_else(|| malformed("a number in the file cannot be read"))
    }
}
