//! Reads and rewrites the files of a model, and names them as other files do.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use crate::domain::{Cancellable, ConversionError};
use crate::intake::model_files::Files;
use crate::intake::source::unreadable;

/// Rewrites the stored copy of the file at `index` with `write`; it may grow up to the limit on the model's size.
///
/// # Errors
/// `too_large`, `cancelled`, `io`
pub fn rewrite(
    files: &mut Files,
    index: usize,
    write: impl FnOnce(&mut BufReader<Cancellable<File>>, &mut BufWriter<Limited>) -> io::Result<()>,
) -> Result<(), ConversionError> {
    let Some(item) = files.item(index) else { return Ok(()) };
    // This is the copy even of a file that lies outside, which is the user's own.
    let path = files.folder().join(&item.stored);
    // No name of a stored file begins with a dot.
    let draft = files.folder().join(".draft");
    let room = files.room_left().saturating_add(item.bytes);
    let too_large = files.limits().too_large();
    let run = || -> io::Result<u64> {
        let source = files.context().cancel.reader(File::open(&path)?);
        let mut reader = BufReader::with_capacity(1 << 16, source);
        let target = Limited { file: File::create(&draft)?, written: 0, room, too_large };
        let mut writer = BufWriter::with_capacity(1 << 16, target);
        write(&mut reader, &mut writer)?;
        writer.flush()?;
        fs::rename(&draft, &path)?;
        Ok(writer.get_ref().written)
    };
    let written = run().map_err(|error| ConversionError::io("prepare the model", &error))?;
    files.count_rewritten(index, written);
    Ok(())
}

/// A file of at most `room` bytes.
pub struct Limited {
    file: File,
    written: u64,
    room: u64,
    too_large: ConversionError,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written.saturating_add(bytes.len() as u64) > self.room {
            return Err(io::Error::other(self.too_large.clone()));
        }
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The path of the file at `to` relative to the file at `from`, with `/`.
pub fn relative(files: &Files, from: usize, to: usize) -> String {
    let (Some(from), Some(to)) = (files.item(from), files.item(to)) else { return String::new() };
    let folder: Vec<_> = from.stored.parent().unwrap_or(Path::new("")).components().collect();
    let target: Vec<_> = to.stored.components().collect();
    let shared = folder.iter().zip(&target).take_while(|(a, b)| a == b).count();
    let up = folder.iter().skip(shared).map(|_| "..".to_owned());
    let down = target.iter().skip(shared).map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

/// The first bytes of the file at `index`.
pub fn beginning(files: &Files, index: usize) -> Result<Vec<u8>, ConversionError> {
    let mut head = Vec::new();
    files.open(index).and_then(|file| file.take(64).read_to_end(&mut head)).map_err(unreadable)?;
    Ok(head)
}
