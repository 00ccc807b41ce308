//! JSON that is edited as text, so that whatever is not edited stays as it was written: unknown members, the order
//! of keys, the digits of numbers, even the white space.
//!
//! The payload of `data:` URIs is left in the file (a [`Hole`] says where), so that a self-contained glTF of any size
//! costs no more memory than its structure.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::byte_range::{ByteRange, Hole};
use super::{malformed, unreadable};
use crate::domain::{Cancel, ConversionError, ErrorCode, error};
use crate::fs::open::Located;

/// The structure of a model (without `data:` payloads) beyond which it is not read.
const MAX_TEXT: usize = 64 << 20;
/// Values beyond which it is not read: a scene of 60,000 different objects has as many.
const MAX_VALUES: u64 = 5_000_000;
/// Payloads beyond which it is not read, which take memory before any is reserved.
const MAX_HOLES: usize = 500_000;
/// The most memory that one of them takes once it is parsed, in bytes: half an empty node, in a list that is growing.
const PARSED_VALUE: u64 = 128;
/// The longest head of a `data:` URI that is recognised: `data:image/png;base64`.
const MAX_HEAD: usize = 256;

/// So many bytes of a payload are looked at in one go.
const LEAP: usize = 32;

/// JSON text without the payloads of its `data:` URIs.
#[derive(Debug)]
pub struct Json {
    text: String,
    /// In the order of the text.
    holes: Vec<Hole>,
    /// How many values it holds, roughly: objects, lists and what commas part.
    values: u64,
}

/// Where the scanner is.
enum State {
    Between,
    /// In a string that began at this place of the text.
    String {
        start: usize,
        escaped: bool,
        head: bool,
    },
    /// In the payload of a `data:` URI.
    Payload {
        escaped: bool,
    },
}

impl Json {
    /// Reads the JSON in `range` of `file`.
    ///
    /// # Errors
    /// `import_failed` when it is no UTF-8 or ends early, `too_large`, `cancelled`.
    pub fn read(file: &mut File, range: Range<u64>, cancel: &Cancel) -> Result<Json, ConversionError> {
        let unreadable = |error| unreadable("the JSON", &error);
        file.seek(SeekFrom::Start(range.start)).map_err(unreadable)?;
        let mut reader = BufReader::with_capacity(1 << 16, cancel.reader(file.take(range.end - range.start)));
        let mut scanner = Scanner { text: Vec::new(), holes: Vec::new(), values: 0, state: State::Between };
        let mut place = range.start;
        let mut block = [0; 1 << 13];
        loop {
            let count = reader.read(&mut block).map_err(unreadable)?;
            let Some(bytes) = block.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
            let mut rest = bytes;
            while let Some((&byte, after)) = rest.split_first() {
                let leap = scanner.leap(rest);
                if leap > 0 {
                    rest = rest.get(leap..).unwrap_or_default();
                    place += leap as u64;
                    continue;
                }
                scanner.feed(byte, place);
                rest = after;
                place += 1;
            }
            if scanner.text.len() > MAX_TEXT {
                let detail = format!("the JSON of the model is larger than {} MiB", MAX_TEXT >> 20);
                return Err(ConversionError::new(ErrorCode::TooLarge, detail));
            }
            if scanner.holes.len() > MAX_HOLES {
                let detail = format!("the JSON of the model holds more than {MAX_HOLES} data: URIs");
                return Err(ConversionError::new(ErrorCode::TooLarge, detail));
            }
            if scanner.values > MAX_VALUES {
                let detail = format!("the JSON of the model holds more than {MAX_VALUES} values");
                return Err(ConversionError::new(ErrorCode::TooLarge, detail));
            }
        }
        if place < range.end {
            return Err(malformed("the file is truncated within its JSON"));
        }
        scanner.finish()
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The most memory that looking at it takes besides the text, in bytes: its values, and texts of it once more.
    pub fn parsed_bytes(&self) -> u64 {
        self.values.saturating_mul(PARSED_VALUE).saturating_add(self.text.len() as u64)
    }

    /// Where `part`, a piece of the text, is in it.
    pub fn span(&self, part: &RawValue) -> Range<usize> {
        let start = (part.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        start..start + part.get().len()
    }

    /// The payload of the `data:` URI that the string `value` is.
    pub fn hole(&self, value: &RawValue) -> Option<&Hole> {
        self.holes_in(&self.span(value)).first()
    }

    fn holes_in(&self, span: &Range<usize>) -> &[Hole] {
        let first = self.holes.partition_point(|hole| hole.at < span.start);
        let last = self.holes.partition_point(|hole| hole.at < span.end);
        self.holes.get(first..last).unwrap_or_default()
    }
}

struct Scanner {
    text: Vec<u8>,
    holes: Vec<Hole>,
    values: u64,
    state: State,
}

impl Scanner {
    /// How many of the bytes that come next are the middle of a payload, which [`Scanner::feed`] need not see one by
    /// one; they are counted here.
    fn leap(&mut self, bytes: &[u8]) -> usize {
        let (State::Payload { escaped: false }, Some(hole)) = (&self.state, self.holes.last_mut()) else {
            return 0;
        };
        // A mark can only be where a group ends.
        if !hole.characters.is_multiple_of(4) {
            return 0;
        }
        // Without a branch for each byte, so that the compiler takes many at once.
        let all_known = |chunk: &&[u8]| chunk.iter().fold(true, |known, &byte| known & is_base64(byte));
        let length = bytes.chunks_exact(LEAP).take_while(all_known).count() * LEAP;
        hole.range.end += length as u64;
        hole.add(length as u64, hole.range.end);
        length
    }

    fn feed(&mut self, byte: u8, place: u64) {
        match &mut self.state {
            State::Between => {
                match byte {
                    b'"' => {
                        self.state = State::String { start: self.text.len() + 1, escaped: false, head: true };
                    }
                    b'[' | b'{' | b',' => self.values += 1,
                    _ => {}
                }
                self.text.push(byte);
            }
            State::String { start, escaped, head } => {
                self.text.push(byte);
                let so_far = self.text.len() - *start;
                if *escaped {
                    *escaped = false;
                } else if byte == b'\\' {
                    *escaped = true;
                } else if byte == b'"' {
                    self.state = State::Between;
                } else if so_far > MAX_HEAD || (so_far == 5 && !self.text.ends_with(b"data:")) {
                    *head = false;
                } else if byte == b',' && *head && so_far > 5 {
                    self.holes.push(Hole {
                        at: self.text.len(),
                        range: place + 1..place + 1,
                        characters: 0,
                        plain: true,
                        marks: Vec::new(),
                    });
                    self.state = State::Payload { escaped: false };
                }
            }
            State::Payload { escaped } => {
                if byte == b'"' && !*escaped {
                    self.text.push(byte);
                    self.state = State::Between;
                    return;
                }
                *escaped = byte == b'\\' && !*escaped;
                if let Some(hole) = self.holes.last_mut() {
                    hole.range.end = place + 1;
                    let known = is_base64(byte);
                    hole.add(u64::from(known), place + 1);
                    hole.plain &= known || byte == b'=';
                }
            }
        }
    }

    fn finish(self) -> Result<Json, ConversionError> {
        let mut text = String::from_utf8(self.text).map_err(|_| malformed("the file's JSON is not UTF-8"))?;
        let mut holes = self.holes;
        if text.starts_with('\u{feff}') {
            text.drain(..3);
            for hole in &mut holes {
                hole.at = hole.at.saturating_sub(3);
            }
        }
        Ok(Json { text, holes, values: self.values })
    }
}

/// Whether `byte` is of the base64 alphabet, padding aside.
fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

/// The members of an object, in their order.
#[derive(Debug, Clone)]
pub struct Members<'a>(pub Vec<(&'a RawValue, &'a RawValue)>);

impl<'a> Members<'a> {
    /// The members of the object `text`.
    ///
    /// # Errors
    /// `import_failed` when it is no object.
    pub fn of(text: &'a str) -> Result<Self, ConversionError> {
        serde_json::from_str(text)
            .map_err(|error| malformed(format!("the file's JSON is wrong: {}", error::of_json(&error))))
    }

    /// The value of the member `name`.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(key, _)| is_key(key, name)).map(|(_, value)| *value)
    }

    /// The value of the member `name`, read.
    ///
    /// # Errors
    /// `import_failed` when it is of another kind.
    pub fn read<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, ConversionError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        serde_json::from_str(value.get()).map_err(|error| {
            malformed(format!("the file's JSON is wrong: {name:?}: {}", error::of_json(&error)))
        })
    }

    /// The objects in the array that the member `name` is; none where there is no such member.
    ///
    /// # Errors
    /// `import_failed` when it is no array of objects.
    pub fn objects(&self, name: &str) -> Result<Vec<Members<'a>>, ConversionError> {
        Ok(self.read(name)?.unwrap_or_default())
    }
}

/// Whether `key`, as written, spells `name`.
fn is_key(key: &RawValue, name: &str) -> bool {
    let bare = key.get().trim_matches('"');
    bare == name
        || (bare.contains('\\') && serde_json::from_str::<String>(key.get()).is_ok_and(|key| key == name))
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A piece of the text that comes out.
#[derive(Debug)]
pub enum Piece {
    New(String),
    /// A part of the original text, with what was left in the file.
    Kept(Range<usize>),
    Base64(ByteRange),
}

impl From<String> for Piece {
    fn from(text: String) -> Self {
        Piece::New(text)
    }
}

/// What is to be replaced in a text.
#[derive(Debug, Default)]
pub struct Edits(Vec<(Range<usize>, Vec<Piece>)>);

impl Edits {
    /// Puts `pieces` in the place of `span`; spans of different edits must not overlap.
    pub fn replace(&mut self, span: Range<usize>, pieces: Vec<Piece>) {
        self.0.push((span, pieces));
    }

    pub fn insert(&mut self, at: usize, text: String) {
        self.replace(at..at, vec![Piece::New(text)]);
    }

    /// The pieces of the text that comes out, in order; without the white space around it.
    pub fn apply(mut self, json: &Json) -> Vec<Piece> {
        self.0.sort_by_key(|(span, _)| span.start);
        let text = json.text();
        let start = text.len() - text.trim_start().len();
        let end = text.trim_end().len().max(start);
        let mut place = start;
        let mut pieces = Vec::new();
        for (span, new) in self.0 {
            pieces.push(Piece::Kept(place..span.start.max(place)));
            pieces.extend(new);
            place = span.end.max(place);
        }
        pieces.push(Piece::Kept(place..end.max(place)));
        pieces
    }
}

/// The length of `pieces` in bytes when written.
pub fn length(json: &Json, pieces: &[Piece]) -> u64 {
    let of = |piece: &Piece| match piece {
        Piece::New(text) => text.len() as u64,
        Piece::Kept(span) => {
            let holes: u64 = json.holes_in(span).iter().map(|hole| hole.range.end - hole.range.start).sum();
            span.len() as u64 + holes
        }
        Piece::Base64(stretch) => stretch.length().div_ceil(3) * 4,
    };
    pieces.iter().map(of).sum()
}

/// Writes `pieces`; `source` is the file that `json` was read from.
///
/// # Errors
/// What reading or writing says; it ends when it is cancelled.
pub fn write(
    json: &Json,
    pieces: &[Piece],
    source: &Located,
    cancel: &Cancel,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut file = source.open()?;
    let lost = || io::Error::new(io::ErrorKind::InvalidInput, "a piece outside of the text");
    for piece in pieces {
        match piece {
            Piece::New(text) => out.write_all(text.as_bytes())?,
            Piece::Kept(span) => {
                let mut place = span.start;
                for hole in json.holes_in(span) {
                    out.write_all(json.text.get(place..hole.at).ok_or_else(lost)?.as_bytes())?;
                    place = hole.at;
                    if hole.range.is_empty() {
                        continue;
                    }
                    file.seek(SeekFrom::Start(hole.range.start))?;
                    let payload = (&mut file).take(hole.range.end - hole.range.start);
                    io::copy(&mut cancel.reader(payload), out)?;
                }
                out.write_all(json.text.get(place..span.end).ok_or_else(lost)?.as_bytes())?;
            }
            Piece::Base64(stretch) => {
                let mut encoder = EncoderWriter::new(&mut *out, &STANDARD);
                stretch.copy_to(&mut encoder, cancel)?;
                encoder.finish()?;
            }
        }
    }
    Ok(())
}
