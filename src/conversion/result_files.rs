//! The files of a result: those of an engine's that a client may get, under names that are harmless on its disk.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use crate::domain::{ConversionError, Format};
use crate::fs::names;

/// More names than these are not said.
const SHOWN: usize = 5;

/// What an engine left in the folder of a result.
#[derive(Debug)]
pub struct Listed {
    /// The main file, then the others by name.
    pub files: Vec<PathBuf>,
    /// Names those that are not among them.
    pub warning: Option<String>,
}

/// Lists the files in `out`. Those that a result of `format` cannot have are left out: an engine that was taken over by
/// a model could leave a `.bashrc`.
///
/// # Errors
/// `io`
pub fn list(out: &Path, main: PathBuf, format: Format) -> Result<Listed, ConversionError> {
    let mut taken = HashSet::from([lower(main.strip_prefix(out).unwrap_or(&main))]);
    let mut files = vec![main];
    let mut left_out = Vec::new();
    for entry in walkdir::WalkDir::new(out).sort_by_file_name() {
        let entry = entry.map_err(|error| ConversionError::io("list the result", &error.into()))?;
        if !entry.file_type().is_file() || entry.path() == files[0] {
            continue;
        }
        let name = entry.path().strip_prefix(out).unwrap_or(entry.path());
        // Windows and macOS keep one of two files whose names differ by their case.
        if may_go_beside(name, format) && taken.insert(lower(name)) {
            files.push(entry.into_path());
        } else {
            left_out.push(names::quoted(&name.to_string_lossy()));
        }
    }
    let warning = (!left_out.is_empty()).then(|| said(&left_out, format));
    Ok(Listed { files, warning })
}

/// Whether a result of `format` may have a file with this name beside its main one.
pub fn may_go_beside(name: &Path, format: Format) -> bool {
    let extension = name.extension().and_then(|extension| extension.to_str());
    is_harmless(name) && format.may_have_beside(extension.unwrap_or_default())
}

/// Whether a relative path consists of names that can be made on every system, and do no harm there.
pub fn is_harmless(name: &Path) -> bool {
    name.components().all(|part| match part {
        Component::Normal(part) => part.to_str().is_some_and(|part| names::portable(part) == part),
        _ => false,
    })
}

fn lower(name: &Path) -> String {
    name.to_string_lossy().to_lowercase()
}

fn said(left_out: &[String], format: Format) -> String {
    let shown = left_out.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = left_out.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("left out of the result, since {format} has no files with such names: {shown}{more}")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn only_files_of_the_format_with_harmless_names_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path();
        let put = |name: &OsStr| {
            let path = out.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        let kept = ["a.obj", "a.mtl", "textures/木 1.png", "wood.JPG"];
        let harmful = [
            ".bashrc",
            ".x.png",
            ".git/hooks/a.png",
            "..\\x.png",
            "C:x.png",
            "two\nlines.png",
            "aux.png",
            "run.sh",
            "README",
            "end.png ",
            "A.MTL",
            "textures/.x/b.png",
            "b.obj",
        ];
        for name in kept.iter().chain(&harmful) {
            put(OsStr::new(name));
        }
        put(OsStr::from_bytes(b"not\xffutf-8.png"));

        let listed = list(out, out.join("a.obj"), Format::Obj).unwrap();
        let names: Vec<_> = listed.files.iter().map(|path| path.strip_prefix(out).unwrap()).collect();
        // `A.MTL` comes first by name, and one of the two is kept.
        assert_eq!(names, ["a.obj", "A.MTL", "textures/木 1.png", "wood.JPG"].map(Path::new));
        let warning = listed.warning.unwrap();
        assert!(warning.starts_with("left out of the result, since obj has no files"), "{warning}");
        assert!(warning.contains("\"..\\\\x.png\", ") && warning.ends_with(" more"), "{warning}");
        assert!(!warning.contains('\n') && warning.len() < 300, "{warning}");

        // A single file of a format without others.
        let listed = list(out, out.join("a.obj"), Format::Stl).unwrap();
        assert_eq!(listed.files, [out.join("a.obj")]);
        let alone = tempfile::tempdir().unwrap();
        fs::write(alone.path().join("a.stl"), "x").unwrap();
        assert!(list(alone.path(), alone.path().join("a.stl"), Format::Stl).unwrap().warning.is_none());
    }

    #[test]
    fn harmless_paths_stay_in_their_folder() {
        assert!(is_harmless(Path::new("textures/a.png")));
        for name in ["/etc/passwd", "../a.png", "a/../b.png", ".ssh/a.png", "nul.png"] {
            assert!(!is_harmless(Path::new(name)), "{name}");
        }
    }
}
