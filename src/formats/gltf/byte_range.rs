//! Bytes that lie somewhere in a file, as they are or as base64, and are never held whole.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::read::DecoderReader;

use crate::domain::Cancel;
use crate::fs::open::Located;

/// Base64 as found in the wild: with and without its padding.
static BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// So many characters at least are between two marks of a payload: opening it at any place decodes few more.
const MARK_EVERY: u64 = 4096;

/// Bytes that are copied in one go.
const COPIED: u64 = 16 << 20;

/// The payload of a `data:` URI: characters that were left in the file.
#[derive(Debug, Clone)]
pub struct Hole {
    /// Where it belongs in the text.
    pub at: usize,
    /// Where it is in the file.
    pub range: Range<u64>,
    /// How many of its characters are of the base64 alphabet.
    pub characters: u64,
    /// Whether it is nothing but base64, so that any place in it can be found by arithmetic.
    pub plain: bool,
    /// Places from which it can be decoded, for where it is not.
    pub marks: Vec<Mark>,
}

/// A place in a payload before which there are whole groups of four characters of base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// How many characters there are before it.
    pub characters: u64,
    /// Where it is in the file.
    pub place: u64,
}

impl Hole {
    /// Counts characters of base64, the last of which is before `place`.
    pub fn add(&mut self, characters: u64, place: u64) {
        self.characters += characters;
        let marked = self.marks.last().map_or(0, |mark| mark.characters);
        if self.characters.is_multiple_of(4) && self.characters - marked >= MARK_EVERY {
            self.marks.push(Mark { characters: self.characters, place });
        }
    }
}

/// Bytes in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteRange {
    file: Located,
    /// Where it begins in the file.
    start: u64,
    /// Its length in bytes, decoded.
    length: u64,
    code: Code,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Code {
    Bytes,
    /// Base64 that takes so many bytes of the file, where nothing else is in between.
    Base64 {
        encoded: u64,
    },
    /// Base64 with something else in between, and where it can be decoded from.
    Mixed {
        encoded: u64,
        marks: Vec<Mark>,
    },
}

impl ByteRange {
    pub fn bytes(file: &Located, start: u64, length: u64) -> Self {
        Self { file: file.clone(), start, length, code: Code::Bytes }
    }

    pub fn base64(file: &Located, hole: &Hole) -> Self {
        let encoded = hole.range.end - hole.range.start;
        Self {
            file: file.clone(),
            start: hole.range.start,
            length: hole.characters / 4 * 3 + (hole.characters % 4).saturating_sub(1),
            code: if hole.plain {
                Code::Base64 { encoded }
            } else {
                Code::Mixed { encoded, marks: hole.marks.clone() }
            },
        }
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// Where it is: two with the same place have the same bytes, as far as both go.
    pub fn place(&self) -> (&Path, u64) {
        (self.file.relative(), self.start)
    }

    /// The first `length` bytes of it, or `None` when it is shorter.
    pub fn shortened(mut self, length: u64) -> Option<Self> {
        (length <= self.length).then(|| {
            self.length = length;
            self
        })
    }

    /// A reader of `length` bytes from `offset` on; it ends early where the stretch does.
    ///
    /// # Errors
    /// What the file says.
    pub fn open(&self, offset: u64, length: u64) -> io::Result<Box<dyn Read>> {
        let offset = offset.min(self.length);
        let length = length.min(self.length - offset);
        let mut file = self.file.open()?;
        match &self.code {
            Code::Bytes => {
                file.seek(SeekFrom::Start(self.start + offset))?;
                Ok(Box::new(file.take(length)))
            }
            Code::Base64 { encoded } => {
                let before = offset / 3 * 4;
                file.seek(SeekFrom::Start(self.start + before))?;
                let text = BufReader::new(file.take(encoded.saturating_sub(before)));
                decoded(text, offset % 3, length)
            }
            Code::Mixed { encoded, marks } => {
                let after = marks.partition_point(|mark| mark.characters / 4 * 3 <= offset);
                let first = Mark { characters: 0, place: self.start };
                let mark = after.checked_sub(1).and_then(|last| marks.get(last)).copied().unwrap_or(first);
                file.seek(SeekFrom::Start(mark.place))?;
                let text = BufReader::new(file.take((self.start + encoded).saturating_sub(mark.place)));
                decoded(OnlyBase64(text), offset - mark.characters / 4 * 3, length)
            }
        }
    }

    /// Writes all of it to `out`; between two files the kernel does the copying.
    ///
    /// # Errors
    /// `UnexpectedEof` when there is less of it than there should be, else what the files say; it ends when it is cancelled.
    pub fn copy_to(&self, out: &mut impl Write, cancel: &Cancel) -> io::Result<()> {
        let copied = match self.code {
            Code::Bytes => {
                let mut file = self.file.open()?;
                file.seek(SeekFrom::Start(self.start))?;
                let mut copied = 0;
                loop {
                    cancel.check().map_err(io::Error::other)?;
                    let part = (self.length - copied).min(COPIED);
                    let count = io::copy(&mut (&mut file).take(part), out)?;
                    copied += count;
                    if count == 0 || copied >= self.length {
                        break copied;
                    }
                }
            }
            Code::Base64 { .. } | Code::Mixed { .. } => {
                io::copy(&mut cancel.reader(self.open(0, self.length)?), out)?
            }
        };
        if copied < self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// A reader of `length` bytes of what `text` encodes, without the first `skipped`.
fn decoded(text: impl Read + 'static, skipped: u64, length: u64) -> io::Result<Box<dyn Read>> {
    let mut decoder = DecoderReader::new(text, &BASE64);
    io::copy(&mut (&mut decoder).take(skipped), &mut io::sink())?;
    Ok(Box::new(decoder.take(length)))
}

/// Drops what some writers put between the characters of base64: the backslash of an escaped `\/`, and white space.
struct OnlyBase64<R>(R);

impl<R: Read> Read for OnlyBase64<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.0.read(buffer)?;
            let Some(bytes) = buffer.get_mut(..count).filter(|bytes| !bytes.is_empty()) else { return Ok(0) };
            let mut kept = 0;
            for index in 0..bytes.len() {
                let byte = bytes.get(index).copied().unwrap_or_default();
                if byte == b'\\' || byte.is_ascii_whitespace() {
                    continue;
                }
                if let Some(place) = bytes.get_mut(kept) {
                    *place = byte;
                }
                kept += 1;
            }
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}
