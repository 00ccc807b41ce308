//! Unpacks Blender's own files: they are compressed with Zstandard since version 3.0, with gzip before.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::errors::ReadFrameHeaderError::SkipFrame;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::domain::Cancel;

/// Largest window of a frame, in bytes: decoding needs as much memory. Blender compresses 1 MiB at a time.
const MAX_WINDOW: u64 = 8 << 20;

/// Number of bytes by which compressed data may exceed unpacked data: blocks that hold only tables take much time.
const MAX_WASTE: u64 = 4 << 20;

/// Opens the file at `path` and unpacks up to `limit` bytes of it if it is compressed. The reader ends where compressed
/// data is damaged or exceeds the unpacked data by much, and when it is cancelled.
pub fn open(path: &Path, limit: u64, cancel: &Cancel) -> io::Result<Box<dyn Read>> {
    // Reading checks the cancel flag as well: a file may hold much data that unpacks to nothing.
    unpack(BufReader::with_capacity(1 << 16, cancel.reader(File::open(path)?)), limit)
}

/// Whether the file at `path` is compressed; `false` if it cannot be read.
pub fn is_compressed(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(ZSTD.len() as u64).read_to_end(&mut head));
    read.is_ok() && (head.starts_with(ZSTD) || head.starts_with(GZIP))
}

/// Whether a compressed file is one of Blender's.
pub fn is_blend(file: impl Read) -> io::Result<bool> {
    let mut head = Vec::new();
    unpack(BufReader::new(file), BLEND.len() as u64)?.read_to_end(&mut head)?;
    Ok(head == BLEND)
}

/// The first bytes of Blender's files.
pub const BLEND: &[u8] = b"BLENDER";

/// The first bytes of compressed files.
pub const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
pub const GZIP: &[u8] = b"\x1f\x8b";

fn unpack<'a>(mut file: impl BufRead + 'a, limit: u64) -> io::Result<Box<dyn Read + 'a>> {
    let waste = Rc::new(Cell::new(MAX_WASTE));
    let head = file.fill_buf()?.get(..ZSTD.len()).unwrap_or_default().to_owned();
    let compressed = Compressed { file, waste: Rc::clone(&waste) };
    Ok(if head.starts_with(ZSTD) {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Box::new(UntilError { reader: Frames { file: compressed, decoder }, waste }.take(limit))
    } else if head.starts_with(GZIP) {
        Box::new(UntilError { reader: MultiGzDecoder::new(compressed), waste }.take(limit))
    } else {
        Box::new(compressed.file)
    })
}

/// A reader of unpacked data that ends at the first error.
struct UntilError<R> {
    reader: R,
    waste: Rc<Cell<u64>>,
}

impl<R: Read> Read for UntilError<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer).unwrap_or(0);
        self.waste.set(self.waste.get().saturating_add(count as u64));
        Ok(count)
    }
}

/// A reader of compressed data that fails once it exceeds the unpacked data by more than `waste`.
struct Compressed<R> {
    file: R,
    waste: Rc<Cell<u64>>,
}

impl<R: BufRead> Read for Compressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Compressed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.waste.get() == 0 {
            return Err(io::Error::from(ErrorKind::InvalidData));
        }
        self.file.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.waste.set(self.waste.get().saturating_sub(count as u64));
        self.file.consume(count);
    }
}

/// A reader of all Zstandard frames of a file, except frames without content such as the table at the end.
struct Frames<R> {
    file: R,
    decoder: FrameDecoder,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.decoder.can_collect() == 0 {
            if !self.decoder.is_finished() {
                let decoded =
                    self.decoder.decode_blocks(&mut self.file, BlockDecodingStrategy::UptoBlocks(1));
                decoded.map_err(io::Error::other)?;
            } else if self.file.fill_buf()?.is_empty() {
                return Ok(0);
            } else {
                match self.decoder.init(&mut self.file) {
                    Err(FrameDecoderError::ReadFrameHeaderError(SkipFrame { length, .. })) => {
                        io::copy(&mut self.file.by_ref().take(length.into()), &mut io::sink())?;
                    }
                    begun => begun.map_err(io::Error::other)?,
                }
            }
        }
        self.decoder.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    const TABLE: &[u8] = b"\x5e\x2a\x4d\x18\x04\0\0\0what";

    fn frame(content: &[u8]) -> Vec<u8> {
        compress_to_vec(content, CompressionLevel::Fastest)
    }

    fn unpacked(content: &[u8], limit: u64) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.blend");
        fs::write(&path, content).unwrap();
        let mut read = Vec::new();
        open(&path, limit, &Cancel::default()).unwrap().read_to_end(&mut read).unwrap();
        read
    }

    #[test]
    fn all_zstd_frames_are_read() {
        let (first, second) = ("wood.png ".repeat(50_000).into_bytes(), b"stone.png".to_vec());
        let both = [first.as_slice(), &second].concat();
        let compressed = [frame(&first).as_slice(), &frame(b""), TABLE, &frame(&second), TABLE].concat();
        assert_eq!(unpacked(&compressed, u64::MAX), both);
        assert_eq!(unpacked(&compressed, 20), both[..20]);
        assert_eq!(unpacked(b"BLENDER", 3), b"BLENDER");
        assert_eq!(unpacked(b"", 3), b"");
    }

    #[test]
    fn reading_stops_at_too_many_empty_blocks() {
        let content = b"wood.png".repeat(1 << 20);
        let honest = [frame(&content).as_slice(), &frame(b"")].concat();
        assert_eq!(unpacked(&honest, u64::MAX).len(), content.len());
        // A block that is not compressed, of nothing.
        let nothing = [b"\x28\xb5\x2f\xfd\x20\0".as_slice(), &vec![0; 3 << 20], &[1, 0, 0]].concat();
        let some = frame(b"wood.png");
        assert_eq!(unpacked(&[&nothing, some.as_slice()].concat(), u64::MAX), b"wood.png");
        assert_eq!(unpacked(&[&nothing, nothing.as_slice(), &some].concat(), u64::MAX), b"");
    }

    #[test]
    fn content_before_damage_is_read() {
        let frame = frame(b"wood.png");
        for damage in [TABLE.get(..6).unwrap(), b"no frame", frame.get(..5).unwrap(), frame.get(..9).unwrap()]
        {
            assert_eq!(unpacked(&[&frame, damage].concat(), u64::MAX), b"wood.png");
        }
        // A window of 128 MiB, for which there is no need.
        let wide = b"\x28\xb5\x2f\xfd\0\x88\x01\0\0";
        assert_eq!(unpacked(&[&frame, wide.as_slice()].concat(), u64::MAX), b"wood.png");
    }
}
