//! Edits JSON as text, so that everything else stays as it was written: unknown members, the order of keys, the digits
//! of numbers, even the white space.
//!
//! The payloads of `data:` URIs are left in the file (a [`Payload`] says where), so that a self-contained glTF of any
//! size costs no more memory than its structure.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use memchr::memchr;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::byte_range::{ByteRange, Payload};
use super::json_scanner::{Kind, MAX_VALUES, Scanner};
use super::{malformed, unreadable};
use crate::domain::{Cancel, ConversionError, ErrorCode, error};
use crate::fs::open::Located;

/// Longest text of a model's JSON, without `data:` payloads, in bytes.
const MAX_TEXT: usize = 64 << 20;
/// Most payloads of a model: they take memory before any is reserved.
const MAX_PAYLOADS: usize = 500_000;
/// Most memory that a value takes once it is parsed, in bytes: half an empty node, in a list that is growing.
const PARSED_VALUE: u64 = 128;
/// Longest head of a `data:` URI that is recognised, such as `data:image/png;base64,`, in bytes.
const MAX_HEAD: usize = 256;

/// Number of bytes of a payload that are checked at once.
const STEP: usize = 32;

/// JSON text without the payloads of its `data:` URIs.
#[derive(Debug)]
pub struct Json {
    text: String,
    /// In the order of the text.
    payloads: Vec<Payload>,
    /// Number of values, roughly.
    values: u64,
}

impl Json {
    /// Reads the JSON in `range` of `file`.
    ///
    /// # Errors
    /// `import_failed` when it is not UTF-8 or ends early, `too_large`, `cancelled`.
    pub fn read(file: &mut File, range: Range<u64>, cancel: &Cancel) -> Result<Json, ConversionError> {
        let unreadable = |error| unreadable("the JSON", &error);
        file.seek(SeekFrom::Start(range.start)).map_err(unreadable)?;
        let mut reader = cancel.reader(file.take(range.end - range.start));
        let mut collector = Collector::default();
        let mut offset = range.start;
        let mut block = vec![0; 1 << 16];
        loop {
            let count = reader.read(&mut block).map_err(unreadable)?;
            let Some(mut rest) = block.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
            while let Some((kind, piece)) = collector.scanner.next(&mut rest) {
                collector.add(kind, piece, offset);
                offset += piece.len() as u64;
            }
            let refused = if collector.text.len() > MAX_TEXT {
                format!("is larger than {} MiB", MAX_TEXT >> 20)
            } else if collector.payloads.len() > MAX_PAYLOADS {
                format!("holds more than {MAX_PAYLOADS} data: URIs")
            } else if collector.scanner.values > MAX_VALUES {
                format!("holds more than {MAX_VALUES} values")
            } else {
                continue;
            };
            let detail = format!("the JSON of the model {refused}");
            return Err(ConversionError::new(ErrorCode::TooLarge, detail));
        }
        if offset < range.end {
            return Err(malformed("the file is truncated within its JSON"));
        }
        collector.finish()
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The most memory that parsing takes besides the text, in bytes: its values, and strings of it once more.
    pub fn parsed_bytes(&self) -> u64 {
        self.values.saturating_mul(PARSED_VALUE).saturating_add(self.text.len() as u64)
    }

    /// The position of `part`, a piece of the text, in the text.
    pub fn span(&self, part: &RawValue) -> Range<usize> {
        let start = (part.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        start..start + part.get().len()
    }

    /// The payload of the string `value`, if that is a `data:` URI.
    pub fn payload(&self, value: &RawValue) -> Option<&Payload> {
        self.payloads_in(&self.span(value)).first()
    }

    fn payloads_in(&self, span: &Range<usize>) -> &[Payload] {
        let first = self.payloads.partition_point(|payload| payload.at < span.start);
        let last = self.payloads.partition_point(|payload| payload.at < span.end);
        self.payloads.get(first..last).unwrap_or_default()
    }
}

/// The string that a [`Collector`] is in, or was in last.
#[derive(Default)]
enum Current {
    /// It may become a `data:` URI; its content begins at this position of the text.
    Head(usize),
    Payload,
    #[default]
    Other,
}

/// Collects the text of JSON and the positions of the payloads that it leaves out.
#[derive(Default)]
struct Collector {
    scanner: Scanner,
    text: Vec<u8>,
    payloads: Vec<Payload>,
    current: Current,
}

impl Collector {
    /// Adds a piece that stands at `offset` of the file.
    fn add(&mut self, kind: Kind, piece: &[u8], offset: u64) {
        match (kind, &self.current) {
            (Kind::Text | Kind::Escape, Current::Payload) => self.extend_payload(piece),
            (Kind::Text, Current::Head(start)) if let Some(comma) = memchr(b',', piece) => {
                let start = *start;
                let (head, rest) = piece.split_at_checked(comma + 1).unwrap_or((piece, &[]));
                self.text.extend(head);
                let head = self.text.get(start..).unwrap_or_default();
                if head.len() > MAX_HEAD || !head.starts_with(b"data:") {
                    self.current = Current::Other;
                    self.text.extend(rest);
                    return;
                }
                self.current = Current::Payload;
                self.payloads.push(Payload::new(self.text.len(), offset + comma as u64 + 1));
                self.extend_payload(rest);
            }
            _ => {
                self.text.extend(piece);
                if kind == Kind::Open {
                    self.current = Current::Head(self.text.len());
                }
            }
        }
    }

    /// Counts more bytes of the last payload.
    fn extend_payload(&mut self, mut bytes: &[u8]) {
        let Some(payload) = self.payloads.last_mut() else { return };
        // Without a branch for each byte, so that the compiler takes many at once.
        let all_base64 = |step: &&[u8]| step.iter().fold(true, |all, &byte| all & is_base64(byte));
        while let Some(&first) = bytes.first() {
            // A checkpoint can only be where a group of four characters ends.
            let aligned = payload.characters.is_multiple_of(4);
            let steps = if aligned { bytes.chunks_exact(STEP).take_while(all_base64).count() } else { 0 };
            if steps > 0 {
                payload.extend(steps * STEP, (steps * STEP) as u64);
            } else {
                payload.plain &= is_base64(first) || first == b'=';
                payload.extend(1, u64::from(is_base64(first)));
            }
            bytes = bytes.get((steps * STEP).max(1)..).unwrap_or_default();
        }
    }

    fn finish(self) -> Result<Json, ConversionError> {
        let mut text = String::from_utf8(self.text).map_err(|_| malformed("the file's JSON is not UTF-8"))?;
        let mut payloads = self.payloads;
        if text.starts_with('\u{feff}') {
            text.drain(..3);
            for payload in &mut payloads {
                payload.at = payload.at.saturating_sub(3);
            }
        }
        Ok(Json { text, payloads, values: self.scanner.values })
    }
}

/// Whether `byte` belongs to the base64 alphabet; padding does not.
fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

/// The members of an object, in their order.
#[derive(Debug, Clone)]
pub struct Members<'a>(pub Vec<(&'a RawValue, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Parses the object `text`.
    ///
    /// # Errors
    /// `import_failed` when it is not an object.
    pub fn parse(text: &'a str) -> Result<Self, ConversionError> {
        serde_json::from_str(text)
            .map_err(|error| malformed(format!("the file's JSON is wrong: {}", error::of_json(&error))))
    }

    /// The value of the member `name`.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(key, _)| is_key(key, name)).map(|(_, value)| *value)
    }

    /// The value of the member `name` as a `T`.
    ///
    /// # Errors
    /// `import_failed` when it has another type.
    pub fn read<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, ConversionError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        serde_json::from_str(value.get()).map_err(|error| {
            malformed(format!("the file's JSON is wrong: {name:?}: {}", error::of_json(&error)))
        })
    }

    /// The objects in the array `name`; none where there is no such member.
    ///
    /// # Errors
    /// `import_failed` when it is not an array of objects.
    pub fn objects(&self, name: &str) -> Result<Vec<Members<'a>>, ConversionError> {
        Ok(self.read(name)?.unwrap_or_default())
    }
}

/// Whether `key` as written, with quotation marks and escapes, spells `name`.
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

/// A piece of the edited text.
#[derive(Debug)]
pub enum Piece {
    New(String),
    /// A part of the original text, with the payloads in it.
    Kept(Range<usize>),
    Base64(ByteRange),
}

/// Replacements in the text of a JSON.
#[derive(Debug)]
pub struct Edits<'a> {
    json: &'a Json,
    /// Positions in the text, and what stands there instead.
    replaced: Vec<(Range<usize>, Vec<Piece>)>,
}

impl<'a> Edits<'a> {
    pub fn new(json: &'a Json) -> Self {
        Self { json, replaced: Vec::new() }
    }

    /// Replaces `value`, a piece of the text, by `pieces`; different edits must not overlap.
    pub fn replace(&mut self, value: &RawValue, pieces: Vec<Piece>) {
        self.replaced.push((self.json.span(value), pieces));
    }

    pub fn replace_text(&mut self, value: &RawValue, text: String) {
        self.replace(value, vec![Piece::New(text)]);
    }

    /// Adds `text` before the closing bracket of `list`.
    pub fn extend_list(&mut self, list: &RawValue, text: String) {
        let end = self.json.span(list).end - 1;
        self.replaced.push((end..end, vec![Piece::New(text)]));
    }

    /// Adds `member` at the end of `object`, which has other members.
    pub fn add_member(&mut self, object: &Members, mut member: Vec<Piece>) {
        if let Some((_, last)) = object.0.last() {
            let end = self.json.span(last).end;
            member.insert(0, Piece::New(",".to_owned()));
            self.replaced.push((end..end, member));
        }
    }

    /// The edited text, without the white space around it.
    pub fn apply(mut self) -> EditedJson<'a> {
        self.replaced.sort_by_key(|(span, _)| span.start);
        let text = self.json.text();
        let mut copied = text.len() - text.trim_start().len();
        let end = text.trim_end().len();
        let mut pieces = Vec::new();
        for (span, new) in self.replaced {
            pieces.push(Piece::Kept(copied..span.start.max(copied)));
            pieces.extend(new);
            copied = span.end.max(copied);
        }
        pieces.push(Piece::Kept(copied..end.max(copied)));
        EditedJson { json: self.json, pieces }
    }
}

/// JSON text whose pieces are in memory or in files.
pub struct EditedJson<'a> {
    json: &'a Json,
    pieces: Vec<Piece>,
}

impl EditedJson<'_> {
    /// Its length in bytes when written.
    pub fn length(&self) -> u64 {
        let length = |piece: &Piece| match piece {
            Piece::New(text) => text.len() as u64,
            Piece::Kept(span) => {
                let payloads = self.json.payloads_in(span).iter().map(|payload| &payload.range);
                span.len() as u64 + payloads.map(|range| range.end - range.start).sum::<u64>()
            }
            Piece::Base64(bytes) => bytes.length().div_ceil(3) * 4,
        };
        self.pieces.iter().map(length).sum()
    }

    /// Writes the text; `source` is the file that the JSON was read from.
    ///
    /// # Errors
    /// Errors of reading and writing, and cancellation.
    pub fn write(&self, source: &Located, cancel: &Cancel, out: &mut impl Write) -> io::Result<()> {
        let mut file = source.open()?;
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "a piece outside of the text");
        let kept = |span: Range<usize>| self.json.text.get(span).ok_or_else(outside);
        for piece in &self.pieces {
            match piece {
                Piece::New(text) => out.write_all(text.as_bytes())?,
                Piece::Kept(span) => {
                    let mut written = span.start;
                    for payload in self.json.payloads_in(span) {
                        out.write_all(kept(written..payload.at)?.as_bytes())?;
                        written = payload.at;
                        if !payload.range.is_empty() {
                            file.seek(SeekFrom::Start(payload.range.start))?;
                            let bytes = (&mut file).take(payload.range.end - payload.range.start);
                            io::copy(&mut cancel.reader(bytes), out)?;
                        }
                    }
                    out.write_all(kept(written..span.end)?.as_bytes())?;
                }
                Piece::Base64(bytes) => {
                    let mut encoder = EncoderWriter::new(&mut *out, &STANDARD);
                    bytes.copy_to(&mut encoder, cancel)?;
                    encoder.finish()?;
                }
            }
        }
        Ok(())
    }
}
