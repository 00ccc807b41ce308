//! The container of a binary glTF: a header, a chunk of JSON, a chunk of bytes. The reader is our own because the
//! `gltf` crate holds whole files in memory.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::{check_version, malformed, unreadable};
use crate::domain::ConversionError;

pub const MAGIC: [u8; 4] = *b"glTF";
const JSON: [u8; 4] = *b"JSON";
pub const BIN: [u8; 4] = *b"BIN\0";

const HEADER: u64 = 12;
const CHUNK_HEADER: u64 = 8;
/// Most chunks of a file. Two are usual; a file with thousands is made to waste time.
const MAX_CHUNKS: usize = 1000;

/// Positions of the parts of a glb in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub json: Range<u64>,
    pub bin: Option<Range<u64>>,
    /// Chunks of other kinds, their headers included.
    pub others: Vec<Range<u64>>,
}

impl Container {
    /// Finds the parts of `file`; `None` when it is not a glb.
    ///
    /// # Errors
    /// `import_failed` for a glb that is truncated, damaged, or of version 1.
    pub fn read(file: &mut (impl Read + Seek)) -> Result<Option<Container>, ConversionError> {
        let unreadable = |error| unreadable("the header", &error);
        let ends_early = || malformed("the glb file ends early");
        let size = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        let mut magic = [0; 4];
        if size < 4 || file.read_exact(&mut magic).is_err() || magic != MAGIC {
            return Ok(None);
        }
        if size < HEADER + CHUNK_HEADER {
            return Err(ends_early());
        }
        let [version, length] = two_words(file).map_err(unreadable)?;
        match version {
            1 => check_version(Some("1.0"))?,
            2 => {}
            other => {
                return Err(malformed(format!("the file is binary glTF of the unknown version {other}")));
            }
        }
        let length = u64::from(length);
        if length > size {
            return Err(ends_early());
        }
        let mut start = HEADER;
        let mut found = Container { json: 0..0, bin: None, others: Vec::new() };
        for index in 0.. {
            // Some writers add up to 3 bytes of padding after the last chunk.
            if start + CHUNK_HEADER > length {
                break;
            }
            if index == MAX_CHUNKS {
                return Err(malformed("the glb file has too many chunks"));
            }
            file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
            let [chunk_length, kind] = two_words(file).map_err(unreadable)?;
            let content = start + CHUNK_HEADER;
            let end = content + u64::from(chunk_length);
            match (index, kind.to_le_bytes()) {
                (0, kind) if kind != JSON => {
                    return Err(malformed("the glb file does not begin with its JSON"));
                }
                _ if end > length => return Err(ends_early()),
                (0, _) => found.json = content..end,
                (1, BIN) => found.bin = Some(content..end),
                _ => found.others.push(start..end),
            }
            start = end;
        }
        if found.json.is_empty() {
            return Err(malformed("the glb file has no JSON"));
        }
        Ok(Some(found))
    }
}

fn two_words(file: &mut impl Read) -> io::Result<[u32; 2]> {
    let (mut first, mut second) = ([0; 4], [0; 4]);
    file.read_exact(&mut first)?;
    file.read_exact(&mut second)?;
    Ok([u32::from_le_bytes(first), u32::from_le_bytes(second)])
}

/// Returns the header of a glb and the header of its JSON chunk; `json` is the padded length of the JSON, `rest` the
/// length of all other chunks with their headers. `None` above 4 GiB.
pub fn header(json: u64, rest: u64) -> Option<Vec<u8>> {
    let total = u32::try_from(HEADER + CHUNK_HEADER + json + rest).ok()?;
    Some([MAGIC, 2_u32.to_le_bytes(), total.to_le_bytes(), (json as u32).to_le_bytes(), JSON].concat())
}

/// Returns how many zeros or spaces bring `length` to a multiple of 4.
pub fn padding(length: u64) -> usize {
    (length.wrapping_neg() & 3) as usize
}
