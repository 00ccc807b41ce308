//! Content of a known length, in memory or in an open file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use bytes::Bytes;

use super::open::Located;

#[derive(Debug)]
pub enum Blob {
    Memory(Bytes),
    /// A regular file, open at its beginning, and its length. It can be read even after its name was removed.
    File(File, u64),
}

impl Blob {
    /// Opens the regular file `path`, which must not be a link. Anything else is `InvalidInput`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = Located::at(path)?.open()?;
        let length = file.metadata()?.len();
        Ok(Self::File(file, length))
    }

    /// The length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Memory(content) => content.len() as u64,
            Self::File(_, length) => *length,
        }
    }

    /// Writes the content to the file `path`, which is made, or emptied first. A file that has become shorter than its
    /// length is `UnexpectedEof`.
    pub fn copy_to(self, path: &Path) -> io::Result<()> {
        let mut copy = File::create(path)?;
        match self {
            Self::Memory(content) => copy.write_all(&content),
            Self::File(file, length) => {
                let copied = io::copy(&mut file.take(length), &mut copy)?;
                if copied < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn memory_and_files_are_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("source"), folder.path().join("target"));
        fs::write(&source, b"content").unwrap();
        fs::write(&target, b"something longer").unwrap();
        for blob in [Blob::Memory(Bytes::from_static(b"content")), Blob::open(&source).unwrap()] {
            blob.copy_to(&target).unwrap();
            assert_eq!(fs::read(&target).unwrap(), b"content");
        }
        let longer = Blob::File(File::open(&source).unwrap(), 8);
        assert_eq!(longer.copy_to(&target).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
