//! The materials beside an OBJ: which textures they name.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::super::lines::Lines;
use crate::domain::{Cancel, ConversionError};

/// Adds the files that `library`, which follows `mtllib`, names: one name that may hold spaces, else several names. Each
/// takes one of the `looks`; without any left, there is nothing more to be found.
///
/// A library that is not there names none; Blender does without it, too.
///
/// # Errors
/// `cancelled`
pub fn files(
    folder: &Path,
    library: &str,
    looks: &mut usize,
    found: &mut BTreeSet<PathBuf>,
    cancel: &Cancel,
) -> Result<(), ConversionError> {
    for name in std::iter::once(library).chain(library.split_ascii_whitespace()) {
        cancel.check()?;
        let Some(left) = looks.checked_sub(1) else { return Ok(()) };
        *looks = left;
        let Some(path) = beside(folder, name) else { continue };
        found.insert(path);
        if name == library {
            break;
        }
    }
    Ok(())
}

/// Passes on the texture files that the `used` materials in the library at `path` name, as written there.
pub fn read(
    path: &Path,
    used: &BTreeSet<String>,
    mut texture: impl FnMut(String),
    cancel: &Cancel,
) -> Result<(), ConversionError> {
    let mut lines = Lines::open(path, cancel)?;
    let mut current = false;
    while let Some(line) = lines.next_text()? {
        let line = line.trim();
        let (word, rest) = line.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((line, ""));
        match word.to_ascii_lowercase().as_str() {
            "newmtl" => current = used.contains(rest.trim()),
            "bump" | "disp" | "decal" | "norm" | "refl" if current => {
                file_name(rest).into_iter().for_each(&mut texture);
            }
            map if current && map.starts_with("map_") => file_name(rest).into_iter().for_each(&mut texture),
            _ => {}
        }
    }
    Ok(())
}

/// The name at the end of a `map_` line, after its options; names may hold spaces.
fn file_name(rest: &str) -> Option<String> {
    let mut rest = rest.trim();
    while rest.starts_with('-') {
        let mut words = rest.split_ascii_whitespace();
        let option = words.next()?;
        // These take one to three numbers; the others one word, and `-mm` two.
        let numbers = matches!(option, "-o" | "-s" | "-t");
        let mut after = rest.get(option.len()..)?.trim_start();
        for place in 0..3 {
            // The last word is the name, whatever it looks like.
            let Some((word, next)) = after.split_once(|c: char| c.is_ascii_whitespace()) else {
                if place == 0 {
                    return None;
                }
                break;
            };
            let takes = match option {
                "-mm" => place < 2,
                _ if numbers => word.parse::<f64>().is_ok(),
                _ => place < 1,
            };
            if !takes {
                break;
            }
            after = next.trim_start();
        }
        rest = after;
    }
    (!rest.is_empty()).then(|| rest.to_owned())
}

/// The file called `name` in `folder`, if it is there; a name that could lead out of it is never followed.
pub fn beside(folder: &Path, name: &str) -> Option<PathBuf> {
    let name = name.replace('\\', "/");
    let whole = Path::new(&name);
    let inside = whole.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let root = folder.canonicalize().ok()?;
    // A path of another machine still has the file's name in it.
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
    fn the_name_comes_after_the_options() {
        for (line, name) in [
            ("wood.png", "wood.png"),
            ("-s 2 2 2 -o 0.5 0 my wood.png", "my wood.png"),
            ("-bm 0.3 -mm 0 1 bump.png", "bump.png"),
            ("-clamp on textures/wood.png", "textures/wood.png"),
        ] {
            assert_eq!(file_name(line).as_deref(), Some(name), "{line}");
        }
        assert_eq!(file_name("-bm"), None);
    }

    #[test]
    fn nothing_outside_of_the_folder_is_found() {
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
