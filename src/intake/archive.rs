//! Unpacks a zip: limits apply while unpacking, and nothing is written outside the folder.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use zip::read::{ArchiveOffset, Config};
use zip::result::ZipError;
use zip::unstable::read::ZipIterable;
use zip::{CompressionMethod, ZipReadOptions};

use super::model_files::Files;
use super::source::{FileSource, ModelLimits};
use crate::domain::{Cancel, ConversionError, ErrorCode};
use crate::fs::names;

/// Unpacked size up to which the ratio does not matter, in bytes.
const RATIO_FREE: u64 = 10 << 20;

/// Largest ratio of unpacked to compressed size beyond that. Text models are compressed to a tenth.
const MAX_RATIO: u64 = 200;

/// Longest single read, in bytes. Names, comments and extra fields are 64 KiB at most.
const MAX_READ: usize = 1 << 20;

const FILE_TYPE: u32 = 0o170_000;

/// Unpacks a zip into the folder of `files`.
///
/// # Errors `invalid_archive`, `encrypted_archive`, `too_large`, `cancelled`, `io`; a damaged entry may leave files in
/// the folder.
pub fn unpack(sent: &FileSource, files: &mut Files) -> Result<(), ConversionError> {
    let limits = files.limits();
    let reading = |error: io::Error| ConversionError::io("read the zip", &error);
    let compressed = sent.open().and_then(|file| file.metadata()).map_err(reading)?.len();
    let cancel = files.context().cancel.clone();
    // Reading checks the cancel flag as well: a zip may hold much data that unpacks to nothing.
    let open = || sent.open().map(|file| BufReader::new(BoundedReads(cancel.reader(file)))).map_err(reading);
    // Entry by entry, because an index of the whole directory could exceed the limits on memory. A search for records
    // that are not where the end of the zip says could do so, too.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipIterable::try_new(open()?, config).map_err(zip_error)?;
    if archive.len() > limits.max_entries {
        let detail =
            format!("the zip has {} entries, more than the {} allowed", archive.len(), limits.max_entries);
        return Err(ConversionError::new(ErrorCode::TooLarge, detail));
    }
    let mut budget = Budget { limits, compressed, unpacked: 0, cancel: cancel.clone() };
    let mut entries = archive.files_with_reader(open()?, ZipReadOptions::new()).map_err(zip_error)?;
    while let Some(entry) = entries.next() {
        let mut entry = entry.map_err(zip_error)?;
        let name = names::decode(entry.name_raw());
        let kind = entry.unix_mode().unwrap_or_default() & FILE_TYPE;
        let shown = names::quoted(&name);
        let climbs = name.split(['/', '\\']).any(|part| part == "..");
        let Some(parts) = names::components(&name).filter(|_| !climbs) else {
            return Err(invalid(format!("the zip names a file outside its folder: {shown}")));
        };
        if !matches!(kind, 0 | 0o100_000 | 0o040_000) {
            return Err(invalid(format!("the zip holds a link or special file: {shown}")));
        }
        if entry.is_dir() || name.ends_with('\\') || parts.is_empty() || names::is_junk(&parts) {
            continue;
        }
        if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            return Err(invalid(format!("the zip packs {shown} in a way that cannot be read")));
        }
        let (index, mut file) = files.create(&parts)?;
        let bytes = budget.copy(&mut entry, &mut file)?;
        files.set_size(index, bytes);
    }
    Ok(())
}

/// Refuses reads that are too long: the library allocates as much as a record of the zip claims.
struct BoundedReads<R>(R);

impl<R: Read> Read for BoundedReads<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.len() > MAX_READ {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.0.read(buffer)
    }
}

impl<R: Seek> Seek for BoundedReads<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

struct Budget {
    limits: ModelLimits,
    compressed: u64,
    unpacked: u64,
    cancel: Cancel,
}

impl Budget {
    fn copy(&mut self, from: &mut impl Read, to: &mut File) -> Result<u64, ConversionError> {
        let mut buffer = vec![0; 1 << 16];
        let mut bytes = 0;
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => return Ok(bytes),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {
                    self.cancel.check()?;
                    return Err(damaged());
                }
            };
            self.cancel.check()?;
            bytes += count as u64;
            self.unpacked += count as u64;
            if self.unpacked > self.limits.max_unpacked {
                return Err(self.limits.too_large());
            }
            if self.unpacked > RATIO_FREE && self.unpacked / MAX_RATIO > self.compressed {
                let detail = format!("the zip unpacks to more than {MAX_RATIO} times its size");
                return Err(ConversionError::new(ErrorCode::TooLarge, detail));
            }
            to.write_all(&buffer[..count]).map_err(|error| ConversionError::io("unpack the zip", &error))?;
        }
    }
}

fn damaged() -> ConversionError {
    invalid("the zip is damaged or cut short")
}

fn invalid(detail: impl Into<String>) -> ConversionError {
    ConversionError::new(ErrorCode::InvalidArchive, detail)
}

#[allow(clippy::needless_pass_by_value)] // the signature of `map_err`
fn zip_error(error: ZipError) -> ConversionError {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) | ZipError::InvalidPassword => {
            let detail = "the zip asks for a password; send it without one";
            ConversionError::new(ErrorCode::EncryptedArchive, detail)
        }
        ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) => {
            invalid("the zip is packed in a way that cannot be read")
        }
        _ => damaged(),
    }
}
