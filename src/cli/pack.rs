//! A result of several files as one zip, the same bytes for the same files.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::place::Interrupt;

/// Writes `files` (where each is, and its name in the zip), in their order.
///
/// # Errors
/// As the files and the zip; `Interrupted` when `interrupt` says so.
pub fn write(files: &[(PathBuf, PathBuf)], into: impl Write + Seek, interrupt: &Interrupt) -> io::Result<()> {
    let mut zip = ZipWriter::new(into);
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    for (source, name) in files {
        let mut source = super::place::open(source)?;
        let options = options.large_file(source.metadata()?.len() >= u64::from(u32::MAX));
        zip.start_file(entry_name(name), options)?;
        interrupt.copy(&mut source, &mut zip)?;
    }
    zip.finish()?;
    Ok(())
}

fn entry_name(path: &Path) -> String {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

/// Writes the zip to standard output, which cannot seek.
///
/// # Errors
/// As [`write`].
pub fn to_stdout(files: &[(PathBuf, PathBuf)], interrupt: &Interrupt) -> io::Result<()> {
    let mut zip: File = tempfile::tempfile()?;
    write(files, &mut zip, interrupt)?;
    zip.rewind()?;
    interrupt.copy(&mut zip, &mut io::stdout().lock())
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;

    #[test]
    fn equal_files_make_equal_zips() {
        let folder = tempfile::tempdir().unwrap();
        let zip = || {
            let model = folder.path().join("m.obj");
            std::fs::write(&model, "v 0 0 0").unwrap();
            let mut bytes = Cursor::new(Vec::new());
            let files = [(model, PathBuf::from("sub/m.obj"))];
            write(&files, &mut bytes, &Interrupt::default()).unwrap();
            bytes
        };
        let first = zip();
        assert_eq!(first.get_ref(), zip().get_ref());
        let mut archive = zip::ZipArchive::new(first).unwrap();
        let mut text = String::new();
        archive.by_name("sub/m.obj").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "v 0 0 0");
    }
}
