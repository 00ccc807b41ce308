//! Reads text files line by line in bounded memory; unlike `formats::text`, it refuses lines that are too long.

use std::fs::File;
use std::io::{BufRead, Read};
use std::path::Path;
use std::str::FromStr;

use super::reader::{CancellableFile, buffered, reading};
use crate::domain::{Cancel, ConversionError};
use crate::formats::gltf::malformed;

/// Longest line, in bytes: a polygon of a million corners is 20 MB of text.
const MAX_LINE: u64 = 32 << 20;

/// Reads lines into one buffer.
pub struct Lines {
    pub reader: CancellableFile,
    line: Vec<u8>,
    /// The number of the last line, from 1.
    number: u64,
}

impl Lines {
    /// Opens a file; reading it fails once it is cancelled.
    pub fn open(path: &Path, cancel: &Cancel) -> Result<Self, ConversionError> {
        let reader = buffered(File::open(path).map_err(reading)?, cancel);
        Ok(Self { reader, line: Vec::new(), number: 0 })
    }

    /// Returns the next line without white space around it, `None` at the end of the file.
    pub fn next(&mut self) -> Result<Option<&[u8]>, ConversionError> {
        self.line.clear();
        let mut limited = (&mut self.reader).take(MAX_LINE);
        let count = limited.read_until(b'\n', &mut self.line).map_err(reading)?;
        self.number += 1;
        if count as u64 == MAX_LINE {
            return Err(self.error("is too long"));
        }
        Ok((count > 0).then(|| self.line.trim_ascii()))
    }

    /// Returns the next line that is not empty; invalid UTF-8 becomes replacement characters.
    pub fn next_text(&mut self) -> Result<Option<String>, ConversionError> {
        while let Some(line) = self.next()? {
            if !line.is_empty() {
                return Ok(Some(String::from_utf8_lossy(line).into_owned()));
            }
        }
        Ok(None)
    }

    /// The error of the last line: "line 3 …".
    pub fn error(&self, reason: &str) -> ConversionError {
        malformed(format!("the file cannot be read: line {} {reason}", self.number))
    }
}

/// Splits a line into words.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// Parses a word as a number.
pub fn number<T: FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Parses the next three words as a point.
pub fn point<'a>(words: &mut impl Iterator<Item = &'a [u8]>) -> Option<[f64; 3]> {
    let mut next = || number::<f64>(words.next()?);
    Some([next()?, next()?, next()?])
}
