//! Reads what a child left in its folder. Nothing there is trusted: the child has read a stranger's file.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::protocol::ChildReport;
use crate::domain::error::one_line;
use crate::domain::{ConversionError, ErrorCode};
use crate::executor::task::ChildSuccess;
use crate::fs::open::{Located, if_present};
use crate::fs::remove_tree::remove_tree;

const REPORT: &str = "report.json";

/// Longest report, in bytes. Our own code writes none that is longer.
const MAX_REPORT: u64 = 8 << 20;

/// Most files and folders of a result; the largest real results have some hundred textures.
const MAX_ENTRIES: usize = 10_000;

/// Longest paths of a result, all files together, in bytes.
const MAX_PATH_BYTES: usize = 1 << 20;

/// Deepest nesting of folders in a result.
const MAX_DEPTH: usize = 8;

/// A disk with less free space counts as full, in bytes.
const NO_ROOM: u64 = 64 << 10;

/// Longest sentence of a report, in characters.
const MAX_DETAIL: usize = 500;

/// What a child reported.
#[derive(Debug)]
pub(super) enum Reported {
    Failure(ConversionError),
    /// The error says why its result is refused.
    Success(Result<Box<ChildSuccess>, ConversionError>),
}

/// Reads the child's report and checks its result; `None` if there is no readable report. Blocks.
pub(super) fn read(folder: &Path, output: &Path, most_bytes: u64) -> Option<Reported> {
    Some(match report(folder)? {
        ChildReport::Failed { code, detail } => Reported::Failure(ConversionError::new(code, detail)),
        ChildReport::Succeeded(success) => {
            let checked = check_result(folder, output, most_bytes);
            Reported::Success(checked.map(|()| Box::new(success)))
        }
    })
}

/// Reads the child's report; `None` if there is no readable one.
fn report(folder: &Path) -> Option<ChildReport> {
    let read = if_present(read_report(&folder.join(REPORT)));
    let text = read.inspect_err(|error| tracing::warn!(%error, "a child's report cannot be read")).ok()??;
    let report = serde_json::from_slice(&text);
    match report.inspect_err(|error| tracing::warn!(%error, "a child's report is invalid")).ok()? {
        ChildReport::Failed { code, detail } => {
            let detail = one_line(&detail).chars().take(MAX_DETAIL).collect();
            Some(ChildReport::Failed { code, detail })
        }
        report @ ChildReport::Succeeded(_) => Some(report),
    }
}

fn read_report(path: &Path) -> io::Result<Vec<u8>> {
    // Neither follows a link nor waits for a pipe.
    let file = Located::at(path)?.open()?;
    let mut text = Vec::new();
    if file.take(MAX_REPORT + 1).read_to_end(&mut text)? as u64 > MAX_REPORT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    Ok(text)
}

/// Checks the result of a success: `output` lies below the folder and is not empty, and beside it are only files and
/// folders, of `most_bytes` together. A file counts with its length, even if it is sparse.
fn check_result(folder: &Path, output: &Path, most_bytes: u64) -> Result<(), ConversionError> {
    let failed = |detail: &str| ConversionError::new(ErrorCode::ExportFailed, detail);
    let (mut bytes, mut paths) = (0_u64, 0);
    for (number, entry) in walkdir::WalkDir::new(folder.join("out")).into_iter().enumerate() {
        let entry = entry.map_err(|_| failed("blender left a result that cannot be read"))?;
        paths += entry.path().as_os_str().len().saturating_sub(folder.as_os_str().len());
        if number > MAX_ENTRIES || paths > MAX_PATH_BYTES || entry.depth() > MAX_DEPTH {
            return Err(failed("blender left more files than a result can have, or longer names"));
        }
        if entry.file_type().is_dir() {
            continue;
        }
        let data = entry.metadata().map_err(|_| failed("blender left a result that cannot be read"))?;
        // A second hard link may lie outside the result, and the file could be changed through it.
        if !data.is_file() || data.nlink() > 1 {
            return Err(failed("blender left a result with links in it"));
        }
        bytes = bytes.saturating_add(data.len());
    }
    if bytes > most_bytes {
        return Err(ConversionError::output_too_large(most_bytes));
    }
    // The walk has shown that `out` is no link, so this file is inside.
    match fs::symlink_metadata(folder.join(output)) {
        Ok(data) if data.is_file() && data.len() > 0 => Ok(()),
        Ok(data) if data.is_file() => Err(failed("blender wrote an empty file")),
        _ => Err(failed("blender wrote no file")),
    }
}

/// Whether the folder's disk is full.
pub(super) fn disk_is_full(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|disk| {
        disk.f_bavail.saturating_mul(disk.f_frsize) < NO_ROOM || (disk.f_files > 0 && disk.f_favail == 0)
    })
}

/// Removes what an attempt left, so that the next one starts from the model alone.
pub(super) fn clean(folder: &Path) -> Result<(), ConversionError> {
    let remove = |name: &str| if_present(remove_tree(&folder.join(name)));
    let clean = || {
        for name in ["out", "tmp"] {
            remove(name)?;
            fs::create_dir(folder.join(name))?;
        }
        remove(REPORT)
    };
    clean().map(drop).map_err(|error| ConversionError::io("clean the conversion's folder", &error))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;

    use rustix::fs::Mode;

    use super::*;

    const SUCCESS: &str = r#"{"outcome":"succeeded","input":{},"importer":"wm.fbx_import",
        "import_ms":1,"process_ms":1,"export_ms":1,"check_ms":1}"#;

    fn success() -> ChildSuccess {
        match serde_json::from_str(SUCCESS).unwrap() {
            ChildReport::Succeeded(success) => success,
            ChildReport::Failed { .. } => unreachable!(),
        }
    }

    #[test]
    fn invalid_reports_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(REPORT);
        assert_eq!(report(folder.path()), None);
        fs::write(&path, SUCCESS).unwrap();
        assert_eq!(report(folder.path()), Some(ChildReport::Succeeded(success())));

        let nan = SUCCESS.replace("\"import_ms\":1", "\"import_ms\":NaN");
        let infinite = SUCCESS.replace("\"import_ms\":1", "\"import_ms\":1e999");
        let long = format!("{}{SUCCESS}", " ".repeat(8 << 20));
        for wrong in ["", "{}", "[1]", &nan, &infinite, &long] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(report(folder.path()), None);
        }

        fs::write(&path, r#"{"outcome":"failed","code":"import_failed","detail":"two\nlines"}"#).unwrap();
        let code = ErrorCode::ImportFailed;
        assert_eq!(report(folder.path()), Some(ChildReport::Failed { code, detail: "two lines".into() }));

        // A link to a good report elsewhere, a pipe, a folder.
        fs::remove_file(&path).unwrap();
        fs::write(folder.path().join("elsewhere"), SUCCESS).unwrap();
        symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert_eq!(report(folder.path()), None);
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(report(folder.path()), None);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(report(folder.path()), None);
    }

    #[test]
    fn a_result_must_be_a_non_empty_regular_file() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        let check =
            || check_result(folder.path(), Path::new("out/a.glb"), 1 << 20).map_err(|error| error.detail);
        assert_eq!(check().unwrap_err(), "blender wrote no file");
        fs::write(out.join("a.glb"), "").unwrap();
        assert_eq!(check().unwrap_err(), "blender wrote an empty file");
        fs::write(out.join("a.glb"), "glTF").unwrap();
        assert_eq!(check(), Ok(()));
        symlink("/etc/passwd", out.join("texture.png")).unwrap();
        assert_eq!(check().unwrap_err(), "blender left a result with links in it");

        fs::remove_file(out.join("texture.png")).unwrap();
        fs::hard_link(out.join("a.glb"), folder.path().join("elsewhere")).unwrap();
        assert_eq!(check().unwrap_err(), "blender left a result with links in it");
        fs::remove_file(folder.path().join("elsewhere")).unwrap();

        // A folder that is a link to one with a result in it.
        fs::rename(&out, folder.path().join("moved")).unwrap();
        symlink("moved", &out).unwrap();
        assert!(check().is_err());
    }

    #[test]
    fn the_size_of_a_result_is_limited() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let fresh = || {
            let _ = fs::remove_dir_all(&out);
            fs::create_dir(&out).unwrap();
            fs::write(out.join("a.obj"), "v 0 0 0").unwrap();
        };
        let code =
            || check_result(folder.path(), Path::new("out/a.obj"), 1 << 20).map_err(|error| error.code);
        fresh();
        // As many bytes as allowed, none of which is on the disk.
        let sparse = |name: &str, length: u64| File::create(out.join(name)).unwrap().set_len(length).unwrap();
        sparse("a.png", (1 << 20) - 7);
        assert_eq!(code(), Ok(()));
        sparse("b.png", 1);
        assert_eq!(code(), Err(ErrorCode::OutputTooLarge));

        fresh();
        for number in 0..MAX_ENTRIES {
            fs::write(out.join(format!("{number}.png")), "").unwrap();
        }
        assert_eq!(code(), Err(ErrorCode::ExportFailed));

        fresh();
        for number in 0..MAX_PATH_BYTES / 200 {
            fs::write(out.join(format!("{number:0200}.png")), "").unwrap();
        }
        assert_eq!(code(), Err(ErrorCode::ExportFailed));

        fresh();
        fs::create_dir_all(out.join(["d"; MAX_DEPTH].join("/"))).unwrap();
        assert_eq!(code(), Ok(()));
        fs::create_dir_all(out.join(["d"; MAX_DEPTH + 1].join("/"))).unwrap();
        assert_eq!(code(), Err(ErrorCode::ExportFailed));
    }

    #[test]
    fn cleaning_keeps_the_input_model() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("kept"), "").unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        fs::write(folder.path().join("in/a.fbx"), "").unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        fs::write(folder.path().join("tmp/scratch"), "").unwrap();
        fs::write(folder.path().join(REPORT), SUCCESS).unwrap();
        symlink(elsewhere.path(), folder.path().join("out")).unwrap();
        for _ in 0..2 {
            clean(folder.path()).unwrap();
            assert!(folder.path().join("in/a.fbx").is_file());
            assert!(folder.path().join("out").is_dir() && !folder.path().join("out").is_symlink());
            assert!(!folder.path().join("tmp/scratch").exists() && !folder.path().join(REPORT).exists());
            assert!(elsewhere.path().join("kept").is_file());
        }
    }
}
