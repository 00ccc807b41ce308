//! Reads the words of a binary USD layer ("crate"): names, types, and paths of other files.
//!
//! ```text
//! "PXR-USDC"  version: 8 bytes  offset of the contents: i64  …
//! contents:   number of sections: u64, and for each its name: 16 bytes, offset: i64, size: i64
//! TOKENS:     number of words: u64, bytes of all of them: u64, compressed bytes: u64, number of blocks: u8 (0: one of
//!             less than 2 GB), LZ4
//! ```
//!
//! Everything is little-endian. Layers older than version 0.4 (2016) do not compress their words. The reader is our own
//! so that it allocates no more than its limits.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

const MAGIC: &[u8] = b"PXR-USDC";

/// The first version with compressed words.
const COMPRESSED_SINCE: (u8, u8) = (0, 4);

/// Most sections of a layer; real ones have a handful.
const MAX_SECTIONS: u64 = 64;

/// Largest number of bytes that LZ4 unpacks from one.
const MAX_RATIO: u64 = 255;

/// Most bytes of all words, compressed or not; large scenes have a few MiB. LZ4 puts so little into one block.
const MAX_WORDS: u64 = 64 << 20;

/// The section of a layer that holds its words.
#[derive(Debug)]
pub struct Section {
    file: File,
    start: u64,
    /// Its length in the file, in bytes.
    compressed: u64,
    /// Length of the words when unpacked, in bytes.
    unpacked: u64,
}

/// Finds the words of the layer at `path`; `None` if it is not such a layer or is damaged.
pub fn find(path: &Path) -> io::Result<Option<Section>> {
    none_if_damaged(section(File::open(path)?))
}

impl Section {
    /// The most memory that reading the words takes, and paths among them, in bytes.
    pub fn memory(&self) -> u64 {
        self.compressed + 3 * self.unpacked
    }

    /// Reads the words, each with a zero byte at its end; a list of millions of short words would take much more
    /// memory. `None` if they are damaged or longer than `limit`, which is reduced by their length.
    pub fn words(mut self, limit: &mut u64) -> io::Result<Option<Vec<u8>>> {
        let Some(left) = limit.checked_sub(self.unpacked) else { return Ok(None) };
        *limit = left;
        let mut read = || {
            self.file.seek(SeekFrom::Start(self.start))?;
            let mut section = vec![0; self.compressed as usize];
            self.file.read_exact(&mut section)?;
            let Some([0, block @ ..]) = section.get(24..) else { return Ok(None) };
            Ok(lz4_flex::block::decompress(block, self.unpacked as usize).ok())
        };
        none_if_damaged(read())
    }
}

/// Turns the error of a file that ends early, or of an impossible offset, into `None`.
fn none_if_damaged<T>(read: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match read {
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput) => {
            Ok(None)
        }
        other => other,
    }
}

fn section(mut file: File) -> io::Result<Option<Section>> {
    let mut head = [0; 16];
    file.read_exact(&mut head)?;
    let contents = read_u64(&mut file)?;
    if !head.starts_with(MAGIC) || (head[8], head[9]) < COMPRESSED_SINCE {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(contents))?;
    for _ in 0..read_u64(&mut file)?.min(MAX_SECTIONS) {
        let mut name = [0; 16];
        file.read_exact(&mut name)?;
        let (start, compressed) = (read_u64(&mut file)?, read_u64(&mut file)?);
        if !name.starts_with(b"TOKENS\0") {
            continue;
        }
        file.seek(SeekFrom::Start(start.saturating_add(8)))?;
        let unpacked = read_u64(&mut file)?;
        let fits = compressed <= MAX_WORDS && unpacked <= MAX_WORDS.min(compressed.saturating_mul(MAX_RATIO));
        return Ok(fits.then_some(Section { file, start, compressed, unpacked }));
    }
    Ok(None)
}

fn read_u64(file: &mut File) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// LZ4 of nothing but literals.
    fn literals(text: &[u8]) -> Vec<u8> {
        let mut block = vec![0xf0];
        let more = text.len() - 15;
        block.extend(std::iter::repeat_n(255, more / 255));
        block.push((more % 255) as u8);
        block.extend(text);
        block
    }

    fn layer(words: &[u8], block: &[u8]) -> Vec<u8> {
        let mut section = Vec::new();
        for number in [9, words.len() as u64, 0] {
            section.extend(number.to_le_bytes());
        }
        section.push(0);
        section.extend(block);
        let mut layer = [MAGIC, &[0, 8, 0, 0, 0, 0, 0, 0]].concat();
        layer.extend((24 + section.len() as u64).to_le_bytes());
        layer.extend(&section);
        layer.extend(2_u64.to_le_bytes());
        for (name, start, size) in [(b"STRINGS\0", 0, 0), (b"TOKENS\0\0", 24, section.len() as u64)] {
            layer.extend(name);
            layer.extend([0; 8]);
            layer.extend(u64::to_le_bytes(start));
            layer.extend(size.to_le_bytes());
        }
        layer
    }

    fn read(layer: &[u8]) -> Option<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.usdc");
        std::fs::write(&path, layer).unwrap();
        find(&path).unwrap()?.words(&mut u64::MAX.clone()).unwrap()
    }

    const WORDS: &[u8] = b"Mesh\0./textures/wood.png\0inputs:file\0";

    #[test]
    fn usdc_tokens_are_read() {
        assert_eq!(read(&layer(WORDS, &literals(WORDS))).unwrap(), WORDS);
        assert_eq!(read(b"#usda 1.0"), None);
    }

    proptest! {
        #[test]
        fn damaged_usdc_files_cause_no_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut layer = layer(WORDS, &literals(WORDS));
            let at = at.index(layer.len());
            layer[at] = byte;
            read(&layer);
            layer.truncate(cut.index(layer.len()));
            read(&layer);
        }
    }
}
