//! The container of a binary glTF: a header, a chunk of JSON, a chunk of bytes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use super::{malformed, unreadable};
use crate::domain::ConversionError;

pub const MAGIC: [u8; 4] = *b"glTF";
pub const JSON: [u8; 4] = *b"JSON";
pub const BIN: [u8; 4] = *b"BIN\0";

const HEADER: u64 = 12;
const CHUNK_HEADER: u64 = 8;
/// Two are usual; a file with more than this is made to waste time.
const MAX_CHUNKS: usize = 1000;

/// Where the parts of a glb are in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub json: Range<u64>,
    pub bin: Option<Range<u64>>,
    /// Chunks of other kinds, their headers included.
    pub others: Vec<Range<u64>>,
}

impl Container {
    /// The parts of `file`, or `None` when it is no glb at all.
    ///
    /// # Errors
    /// `import_failed` for a glb that is truncated, damaged, or of version 1.
    pub fn read(file: &mut File) -> Result<Option<Container>, ConversionError> {
        let unreadable = |error| unreadable("the header", &error);
        let size = file.metadata().map_err(unreadable)?.len();
        file.rewind().map_err(unreadable)?;
        let mut magic = [0; 4];
        if size < 4 || file.read_exact(&mut magic).is_err() || magic != MAGIC {
            return Ok(None);
        }
        let truncated = || malformed(format!("the file is truncated: it has only {size} bytes"));
        if size < HEADER + CHUNK_HEADER {
            return Err(truncated());
        }
        let [version, length] = two_words(file).map_err(unreadable)?;
        match version {
            1 => return Err(malformed(ONLY_2)),
            2 => {}
            other => return Err(malformed(format!("the file's header says version {other}"))),
        }
        let length = u64::from(length);
        if length > size {
            return Err(malformed(format!("the file is truncated: {size} of {length} bytes are there")));
        }
        let mut place = HEADER;
        let mut found = Container { json: 0..0, bin: None, others: Vec::new() };
        for index in 0.. {
            // Up to 3 bytes after the last chunk are padding that some writers add.
            if place + CHUNK_HEADER > length {
                break;
            }
            if index == MAX_CHUNKS {
                return Err(malformed("the file has too many chunks"));
            }
            file.seek(SeekFrom::Start(place)).map_err(unreadable)?;
            let [chunk_length, kind] = two_words(file).map_err(unreadable)?;
            let start = place + CHUNK_HEADER;
            let end = start + u64::from(chunk_length);
            if end > length {
                return Err(malformed("the file is truncated: a chunk reaches past its end"));
            }
            match (index, kind.to_le_bytes()) {
                (0, JSON) => found.json = start..end,
                (0, _) => return Err(malformed("the file's first chunk is not JSON")),
                (1, BIN) => found.bin = Some(start..end),
                _ => found.others.push(place..end),
            }
            place = end;
        }
        if found.json.is_empty() {
            return Err(malformed("the file has no JSON"));
        }
        Ok(Some(found))
    }
}

/// What there is to say of a file of the first version.
pub const ONLY_2: &str = "the file is glTF 1.0; only glTF 2.0 can be read";

fn two_words(file: &mut File) -> std::io::Result<[u32; 2]> {
    let (mut first, mut second) = ([0; 4], [0; 4]);
    file.read_exact(&mut first)?;
    file.read_exact(&mut second)?;
    Ok([u32::from_le_bytes(first), u32::from_le_bytes(second)])
}

/// The zeros or spaces that bring `length` to a multiple of 4.
pub fn padding(length: u64) -> usize {
    (length.wrapping_neg() & 3) as usize
}
