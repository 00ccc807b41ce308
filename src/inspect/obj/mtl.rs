//! Finds the material libraries beside an OBJ and the textures that they name.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::super::lines::Lines;
use crate::domain::{Cancel, ConversionError};
use crate::formats::mtl::texture_name;
use crate::formats::text::statement;

/// Adds the files that `library`, the argument of `mtllib`, names: one name that may hold spaces, else several names.
/// Each search takes one of `searches`; without any left, nothing more is found. A missing library is ignored, as
/// Blender does.
///
/// # Errors
/// `cancelled`
pub fn files(
    folder: &Path,
    library: &str,
    searches: &mut usize,
    found: &mut BTreeSet<PathBuf>,
    cancel: &Cancel,
) -> Result<(), ConversionError> {
    for name in std::iter::once(library).chain(library.split_ascii_whitespace()) {
        cancel.check()?;
        let Some(left) = searches.checked_sub(1) else { return Ok(()) };
        *searches = left;
        let Some(path) = beside(folder, name) else { continue };
        found.insert(path);
        if name == library {
            break;
        }
    }
    Ok(())
}

/// Calls `texture` with each texture file that the `used` materials in the library at `path` name.
///
/// # Errors
/// `import_failed`, `cancelled`, `io`
pub fn read(
    path: &Path,
    used: &BTreeSet<String>,
    mut texture: impl FnMut(String),
    cancel: &Cancel,
) -> Result<(), ConversionError> {
    let mut lines = Lines::open(path, cancel)?;
    let mut current = false;
    while let Some(line) = lines.next()? {
        let (keyword, rest) = statement(line);
        if keyword.eq_ignore_ascii_case(b"newmtl") {
            current = used.contains(&*String::from_utf8_lossy(rest));
        } else if current && let Some((_, name)) = texture_name(line) {
            texture(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(())
}

/// Finds the file `name` in `folder`; a name that could lead out of the folder is never followed.
pub fn beside(folder: &Path, name: &str) -> Option<PathBuf> {
    let name = name.replace('\\', "/");
    let whole = Path::new(&name);
    let inside = whole.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let root = folder.canonicalize().ok()?;
    // The last part of a path on another machine is the name of the file.
    let bare = whole.file_name().map(Path::new);
    inside.then_some(whole).into_iter().chain(bare).find_map(|relative| {
        let real = folder.join(relative).canonicalize().ok()?;
        (real.starts_with(&root) && real.is_file()).then_some(real)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_outside_the_folder_are_not_found() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(folder.path().join("secret.png"), "x").unwrap();
        std::fs::write(inner.join("wood.png"), "x").unwrap();
        assert!(beside(&inner, "../secret.png").is_none());
        assert!(beside(&inner, "/etc/passwd").is_none());
        assert!(beside(&inner, r"C:\art\wood.png").is_some());
    }
}
