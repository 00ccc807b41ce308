//! Selects the files of a result: those that its format can have, under names that are harmless on a client's disk.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use crate::domain::{ConversionError, Format};
use crate::fs::names;

/// Most names in a warning.
const MAX_SHOWN: usize = 5;

/// Lists the files in `out`, the main file first, then the others by name; the warning names those that were left out
/// because a result of `format` cannot have them: a model that took over the engine could leave a `.bashrc`.
///
/// # Errors
/// `io`
pub fn list(
    out: &Path,
    main: PathBuf,
    format: Format,
) -> Result<(Vec<PathBuf>, Option<String>), ConversionError> {
    let mut taken = HashSet::from([lower(main.strip_prefix(out).unwrap_or(&main))]);
    let mut files = vec![main];
    let mut left_out = Vec::new();
    for entry in walkdir::WalkDir::new(out).sort_by_file_name() {
        let entry = entry.map_err(|error| ConversionError::io("list the result", &error.into()))?;
        if !entry.file_type().is_file() || entry.path() == files[0] {
            continue;
        }
        let name = entry.path().strip_prefix(out).unwrap_or(entry.path());
        // On Windows and macOS, names that differ only by case are the same file.
        if may_go_beside(name, format) && taken.insert(lower(name)) {
            files.push(entry.into_path());
        } else {
            left_out.push(names::quoted(&name.to_string_lossy()));
        }
    }
    let warning = (!left_out.is_empty()).then(|| {
        let names = names::listed(&left_out, MAX_SHOWN);
        format!("left out of the result, since {format} has no files with such names: {names}")
    });
    Ok((files, warning))
}

/// Whether a result of `format` may have a file with this name beside its main one.
pub fn may_go_beside(name: &Path, format: Format) -> bool {
    let extension = name.extension().and_then(|extension| extension.to_str());
    is_harmless(name) && format.may_have_beside(extension.unwrap_or_default())
}

/// Whether every part of a relative path is a safe name on every system.
pub fn is_harmless(name: &Path) -> bool {
    name.components().all(|part| match part {
        Component::Normal(part) => part.to_str().is_some_and(|part| names::portable(part) == part),
        _ => false,
    })
}

fn lower(name: &Path) -> String {
    name.to_string_lossy().to_lowercase()
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

        let (files, warning) = list(out, out.join("a.obj"), Format::Obj).unwrap();
        let names: Vec<_> = files.iter().map(|path| path.strip_prefix(out).unwrap()).collect();
        // `A.MTL` comes first by name, and one of the two is kept.
        assert_eq!(names, ["a.obj", "A.MTL", "textures/木 1.png", "wood.JPG"].map(Path::new));
        let warning = warning.unwrap();
        assert!(warning.starts_with("left out of the result, since obj has no files"), "{warning}");
        assert!(warning.contains("\"..\\\\x.png\", ") && warning.ends_with(" more"), "{warning}");
        assert!(!warning.contains('\n') && warning.len() < 300, "{warning}");

        // A single file of a format without others.
        let (files, _) = list(out, out.join("a.obj"), Format::Stl).unwrap();
        assert_eq!(files, [out.join("a.obj")]);
        let alone = tempfile::tempdir().unwrap();
        fs::write(alone.path().join("a.stl"), "x").unwrap();
        assert!(list(alone.path(), alone.path().join("a.stl"), Format::Stl).unwrap().1.is_none());
    }

    #[test]
    fn only_safe_relative_paths_are_harmless() {
        assert!(is_harmless(Path::new("textures/a.png")));
        for name in ["/etc/passwd", "../a.png", "a/../b.png", ".ssh/a.png", "nul.png"] {
            assert!(!is_harmless(Path::new(name)), "{name}");
        }
    }
}
