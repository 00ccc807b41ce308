//! Bytes that lie somewhere in a file, as they are or as base64, and are never held whole.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::read::DecoderReader;

use crate::domain::Cancel;
use crate::fs::open::Located;

/// Base64 with or without its padding: writers do both.
static BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Fewest characters between two checkpoints of a payload: reading from any position decodes few more.
const CHECKPOINT_EVERY: u64 = 4096;

/// Number of bytes that are copied between two looks at the cancel flag.
const COPIED: u64 = 16 << 20;

/// The payload of a `data:` URI: characters that were left in the file.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Its position in the text that was taken from the file.
    pub at: usize,
    /// Its position in the file.
    pub range: Range<u64>,
    /// Number of its characters that belong to the base64 alphabet.
    pub characters: u64,
    /// Whether it is nothing but base64, so that any position in it can be found by arithmetic.
    pub plain: bool,
    /// Offsets from which it can be decoded where it is not plain.
    checkpoints: Vec<Checkpoint>,
}

/// An offset in a payload before which there are only whole groups of four characters of base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Checkpoint {
    /// Number of characters before it.
    characters: u64,
    /// Its offset in the file.
    offset: u64,
}

impl Payload {
    /// An empty payload at `at` in the text and `offset` in the file.
    pub fn new(at: usize, offset: u64) -> Self {
        Self { at, range: offset..offset, characters: 0, plain: true, checkpoints: Vec::new() }
    }

    /// Adds the next `bytes` of the file, which hold `characters` of base64.
    pub fn extend(&mut self, bytes: usize, characters: u64) {
        self.range.end += bytes as u64;
        self.characters += characters;
        let last = self.checkpoints.last().map_or(0, |checkpoint| checkpoint.characters);
        if self.characters.is_multiple_of(4) && self.characters - last >= CHECKPOINT_EVERY {
            self.checkpoints.push(Checkpoint { characters: self.characters, offset: self.range.end });
        }
    }
}

/// Bytes in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteRange {
    file: Located,
    /// Offset of its first byte in the file.
    start: u64,
    /// Its length in bytes, decoded.
    length: u64,
    encoding: Encoding,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Encoding {
    /// As they are.
    Bytes,
    /// Base64 that takes `encoded` bytes of the file; with checkpoints if escapes or white space are in between.
    Base64 { encoded: u64, checkpoints: Option<Vec<Checkpoint>> },
}

impl ByteRange {
    pub fn bytes(file: &Located, start: u64, length: u64) -> Self {
        Self { file: file.clone(), start, length, encoding: Encoding::Bytes }
    }

    pub fn base64(file: &Located, payload: &Payload) -> Self {
        let Range { start, end } = payload.range;
        let length = payload.characters / 4 * 3 + (payload.characters % 4).saturating_sub(1);
        let checkpoints = (!payload.plain).then(|| payload.checkpoints.clone());
        let encoding = Encoding::Base64 { encoded: end - start, checkpoints };
        Self { file: file.clone(), start, length, encoding }
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// The file and the offset in it: two ranges with the same position begin with the same bytes.
    pub fn position(&self) -> (&Path, u64) {
        (self.file.relative(), self.start)
    }

    /// Keeps the first `length` bytes; `None` when there are fewer.
    pub fn truncated(mut self, length: u64) -> Option<Self> {
        (length <= self.length).then(|| {
            self.length = length;
            self
        })
    }

    /// Opens a reader of up to `length` bytes from `offset` on; it ends early where the range does.
    pub fn open(&self, offset: u64, length: u64) -> io::Result<Box<dyn Read>> {
        let offset = offset.min(self.length);
        let length = length.min(self.length - offset);
        let mut file = self.file.open()?;
        let Encoding::Base64 { encoded, checkpoints } = &self.encoding else {
            file.seek(SeekFrom::Start(self.start + offset))?;
            return Ok(Box::new(file.take(length)));
        };
        let from = match checkpoints {
            None => Checkpoint { characters: offset / 3 * 4, offset: self.start + offset / 3 * 4 },
            Some(all) => {
                let after = all.partition_point(|checkpoint| checkpoint.characters / 4 * 3 <= offset);
                let start = Checkpoint { characters: 0, offset: self.start };
                all[..after].last().copied().unwrap_or(start)
            }
        };
        file.seek(SeekFrom::Start(from.offset))?;
        let text = BufReader::new(file.take((self.start + encoded).saturating_sub(from.offset)));
        let skipped = offset - from.characters / 4 * 3;
        match checkpoints {
            None => decoded(text, skipped, length),
            Some(_) => decoded(OnlyBase64(text), skipped, length),
        }
    }

    /// Writes all bytes to `out`; between two files the kernel does the copying.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file holds fewer bytes, other errors of the file system, and cancellation.
    pub fn copy_to(&self, out: &mut impl Write, cancel: &Cancel) -> io::Result<()> {
        let mut copied = 0;
        if let Encoding::Base64 { .. } = self.encoding {
            copied = io::copy(&mut cancel.reader(self.open(0, self.length)?), out)?;
        } else {
            let mut file = self.file.open()?;
            file.seek(SeekFrom::Start(self.start))?;
            loop {
                cancel.check().map_err(io::Error::other)?;
                let part = (self.length - copied).min(COPIED);
                let count = io::copy(&mut (&mut file).take(part), out)?;
                copied += count;
                if count == 0 || copied >= self.length {
                    break;
                }
            }
        }
        if copied < self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// Opens a reader of up to `length` bytes that the base64 `text` encodes, after the first `skipped` bytes.
fn decoded(text: impl Read + 'static, skipped: u64, length: u64) -> io::Result<Box<dyn Read>> {
    let mut decoder = DecoderReader::new(text, &BASE64);
    io::copy(&mut (&mut decoder).take(skipped), &mut io::sink())?;
    Ok(Box::new(decoder.take(length)))
}

/// Drops the backslash of an escaped `\/` and white space, which some writers put between the characters of base64.
struct OnlyBase64<R>(R);

impl<R: Read> Read for OnlyBase64<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.0.read(buffer)?;
            let mut kept = 0;
            for index in 0..count {
                let byte = buffer[index];
                if byte != b'\\' && !byte.is_ascii_whitespace() {
                    buffer[kept] = byte;
                    kept += 1;
                }
            }
            if kept > 0 || count == 0 {
                return Ok(kept);
            }
        }
    }
}
