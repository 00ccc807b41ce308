//! Zips results of several files; equal files give equal zips.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use zip::CompressionMethod::{Deflated, Stored};
use zip::write::SimpleFileOptions;
use zip::{DateTime, System, ZipWriter};

use crate::domain::{Cancel, ConversionError};

/// Extensions of files that are compressed already.
const COMPRESSED: &[&str] =
    &["png", "jpg", "jpeg", "webp", "exr", "ktx2", "dds", "usdz", "blend", "zip", "glb", "vrm", "vrma"];

/// Bytes zipped between two checks for cancellation: some ten milliseconds.
const CHUNK: u64 = 1 << 20;

/// Beyond this size an entry needs the wide fields of zip64.
const LARGE: u64 = u32::MAX as u64;

/// Writes `files` below `folder` to the zip `target`, under their paths relative to `folder`.
pub fn zip_below(
    folder: &Path,
    files: &[PathBuf],
    target: &Path,
    cancel: &Cancel,
) -> Result<(), ConversionError> {
    let out = File::create(target).map_err(|error| ConversionError::io("write the zip", &error))?;
    let name = |file: &PathBuf| file.strip_prefix(folder).unwrap_or(file).to_string_lossy().into_owned();
    let named: Vec<_> = files.iter().map(|file| (file.clone(), name(file))).collect();
    zip_files(&named, out, || cancel.check())
}

/// Writes a zip of `files`, each a path and its name in the zip with `/` between folders.
///
/// Equal files give equal bytes: the entries are sorted and carry no time, owner or system. Contents are streamed.
/// `go_on` is called between chunks; its error ends the work. After an error, `out` holds an incomplete zip.
pub fn zip_files(
    files: &[(PathBuf, String)],
    out: impl Write + Seek,
    go_on: impl Fn() -> Result<(), ConversionError>,
) -> Result<(), ConversionError> {
    let mut sorted: Vec<&(PathBuf, String)> = files.iter().collect();
    sorted.sort_by(|a, b| a.1.cmp(&b.1));
    let go_on = || go_on().map_err(io::Error::other);
    let write = || -> io::Result<()> {
        let mut zip = ZipWriter::new(out);
        for (path, name) in sorted {
            go_on()?;
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            let extension = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
            let method = if COMPRESSED.contains(&extension.as_str()) { Stored } else { Deflated };
            let options = SimpleFileOptions::default()
                .compression_method(method)
                .compression_level((method == Deflated).then_some(6))
                .last_modified_time(DateTime::DEFAULT)
                .system(System::Unix)
                .unix_permissions(0o644)
                .large_file(length >= LARGE);
            zip.start_file(name, options)?;
            while io::copy(&mut (&file).take(CHUNK), &mut zip)? > 0 {
                go_on()?;
            }
        }
        zip.finish()?;
        Ok(())
    };
    write().map_err(|error| ConversionError::io("write the zip", &error))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;

    #[test]
    fn equal_files_give_equal_zips() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for (name, text) in
            [("b.obj", "v 0 0 0\n".repeat(100)), ("tex/猫.png", "png".to_owned()), ("a.mtl", String::new())]
        {
            let path = folder.path().join(name.replace('/', "-"));
            std::fs::write(&path, text).unwrap();
            files.push((path, name.to_owned()));
        }
        let zip = |files: &[(PathBuf, String)]| {
            let mut bytes = Cursor::new(Vec::new());
            zip_files(files, &mut bytes, || Ok(())).unwrap();
            bytes.into_inner()
        };
        let first = zip(&files);
        // Neither the order nor the time of the files counts.
        files.reverse();
        for (path, _) in &files {
            let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_hours(1_000_000);
            File::options().append(true).open(path).unwrap().set_modified(old).unwrap();
        }
        assert_eq!(first, zip(&files));

        let mut archive = zip::ZipArchive::new(Cursor::new(first)).unwrap();
        let names: Vec<_> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["a.mtl", "b.obj", "tex/猫.png"]);
        let mut text = String::new();
        archive.by_name("b.obj").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text.len(), 800);
        assert_eq!(archive.by_name("tex/猫.png").unwrap().compression(), Stored);
        assert_eq!(archive.by_name("b.obj").unwrap().compression(), Deflated);
        assert!(archive.by_name("b.obj").unwrap().extra_data().is_none_or(|data| data.is_empty()));
    }

    #[test]
    fn zipping_a_missing_file_fails() {
        let missing = (PathBuf::from("/nonexistent/a"), "a".to_owned());
        assert!(zip_files(&[missing], Cursor::new(Vec::new()), || Ok(())).is_err());
    }

    #[test]
    fn zipping_can_be_cancelled_within_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("a.bmp");
        File::create(&long).unwrap().set_len(50 * CHUNK).unwrap();
        let cancel = Cancel::default();
        let (guard, chunks) = (std::cell::Cell::new(Some(cancel.guard())), std::cell::Cell::new(0));
        let files = [(long, "a.bmp".to_owned())];
        let ended = zip_files(&files, Cursor::new(Vec::new()), || {
            chunks.set(chunks.get() + 1);
            if chunks.get() == 3 {
                guard.take();
            }
            cancel.check()
        });
        assert_eq!(ended.unwrap_err().code, crate::domain::ErrorCode::Cancelled);
        assert_eq!(chunks.get(), 3);
    }
}
