//! Counts a PLY, as text or binary of either byte order. It is z up, as Blender writes it.

use std::io::{self, BufRead, Read};
use std::path::Path;

use super::lines::{Lines, number, words};
use super::{CancellableFile, Extent, malformed, reading};
use crate::domain::report::Counts;
use crate::domain::{Cancel, ConversionError};
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
    let mut values = Values { reader: lines.into_reader(), encoding };
    let mut counts = Counts::default();
    let mut extent = Extent::default();
    for element in &elements {
        if element.properties.is_empty() {
            continue;
        }
        let has = |name: &str| element.properties.iter().any(|property| property.name == name);
        match element.name.as_str() {
            "vertex" => {
                counts.vertices = element.count;
                counts.vertex_colours = u64::from(has("red") && has("green") && has("blue"));
                let layers = [["s", "t"], ["u", "v"], ["texture_u", "texture_v"]];
                counts.uv_layers = u64::from(layers.iter().any(|[s, t]| has(s) && has(t)));
                read_vertices(&mut values, element, &mut extent)?;
            }
            "face" => counts.triangles += read_faces(&mut values, element)?,
            _ => {
                for _ in 0..element.count {
                    values.element(element, |_, _| {})?;
                }
            }
        }
    }
    counts.meshes = u64::from(counts.vertices > 0);
    counts.objects = counts.meshes;
    counts.bounds_m = extent.0;
    Ok(counts)
}

fn header(lines: &mut Lines<CancellableFile>) -> Result<(Encoding, Vec<Element>), ConversionError> {
    if lines.next()?.unwrap_or_default() != b"ply" {
        return Err(malformed("the file is no PLY: it does not begin with \"ply\""));
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
            ["property", rest @ ..] => {
                let (length, rest) = match rest {
                    ["list", length, rest @ ..] => (Some(number_type(length)), rest),
                    _ => (None, rest),
                };
                let property = match (length, rest) {
                    (Some(None), _) => None,
                    (length, [number, name]) => number_type(number).map(|number| Property {
                        name: (*name).to_owned(),
                        number,
                        length: length.flatten(),
                    }),
                    _ => None,
                };
                let element = elements.last_mut().filter(|element| element.properties.len() < MAX_PROPERTIES);
                let (Some(property), Some(element)) = (property, element) else {
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

fn read_vertices(
    values: &mut Values<impl BufRead>,
    element: &Element,
    extent: &mut Extent,
) -> Result<(), ConversionError> {
    for _ in 0..element.count {
        let mut point = [f64::NAN; 3];
        values.element(element, |name, value| {
            if let Some(axis) = ["x", "y", "z"].iter().position(|axis| *axis == name) {
                point[axis] = value;
            }
        })?;
        extent.add_z_up(point);
    }
    Ok(())
}

/// Reads faces; returns the number of their triangles.
fn read_faces(values: &mut Values<impl BufRead>, element: &Element) -> Result<u64, ConversionError> {
    let mut triangles: u64 = 0;
    for _ in 0..element.count {
        values.element(element, |name, value| {
            if matches!(name, "vertex_indices" | "vertex_index") {
                triangles = triangles.saturating_add((value as u64).saturating_sub(2));
            }
        })?;
    }
    Ok(triangles)
}

/// Reads the numbers of the body one after the other.
struct Values<R> {
    reader: R,
    encoding: Encoding,
}

impl<R: BufRead> Values<R> {
    /// Reads an element; calls `each` with the names and values of its properties.
    fn element(&mut self, element: &Element, mut each: impl FnMut(&str, f64)) -> Result<(), ConversionError> {
        for property in &element.properties {
            each(&property.name, self.property(property)?);
        }
        Ok(())
    }

    /// Reads a property; returns its value, or the length of a list.
    fn property(&mut self, property: &Property) -> Result<f64, ConversionError> {
        let Some(length) = property.length else { return self.number(property.number) };
        let length = self.number(length)?;
        if length < 0.0 || length.fract() != 0.0 {
            return Err(malformed("a list in the file has a length that is none"));
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
        loop {
            let block = self.reader.fill_buf().map_err(reading)?;
            let Some(&byte) = block.first() else { break };
            self.reader.consume(1);
            if byte.is_ascii_whitespace() {
                if length > 0 {
                    break;
                }
                continue;
            }
            let Some(place) = word.get_mut(length) else {
                return Err(malformed("a number in the file is too long"));
            };
            *place = byte;
            length += 1;
        }
        if length == 0 {
            return Err(reading(io::ErrorKind::UnexpectedEof.into()));
        }
        let text = word.get(..length).unwrap_or_default();
        words(text).next().and_then(number).ok_or_else(|| malformed("a number in the file cannot be read"))
    }
}
