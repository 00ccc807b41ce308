//! Finds the models in the files and folders of the command line.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::plan::{Input, Origin, is_model};
use crate::cli::failure::Failure;

/// Checks that all of `given` exist. A missing file may be a value after a switch (`--draco maybe`); other errors would
/// hide that.
///
/// # Errors
/// A usage error when one does not exist.
pub fn check_existence(given: &[PathBuf]) -> Result<(), Failure> {
    given.iter().try_for_each(|path| single(path).map(drop))
}

/// Lists the models in `given`. Walks folders, but skips hidden files and the folder `out`.
///
/// # Errors
/// A usage error when a path does not exist or is not a file, or a folder holds no model.
pub fn gather(given: &[PathBuf], out: &Path) -> Result<Vec<Input>, Failure> {
    let out = out.canonicalize().ok();
    let mut inputs = Vec::new();
    for path in given {
        match single(path)? {
            Input { origin: Origin::Folder(folder), .. } => walk(&folder, out.as_deref(), &mut inputs)?,
            input => inputs.push(input),
        }
    }
    let mut seen = HashSet::new();
    inputs.retain(|input| seen.insert(input.name()));
    Ok(inputs)
}

/// Returns the only input as one model: a file, standard input, or a whole folder.
///
/// # Errors
/// A usage error when it does not exist.
pub fn single(given: &Path) -> Result<Input, Failure> {
    if given == Path::new("-") {
        return Ok(Input { origin: Origin::Stdin, relative: "model".into() });
    }
    let metadata = given
        .metadata()
        .map_err(|error| Failure::Usage(format!("could not open {}: {error}", given.display())))?;
    let origin = if metadata.is_dir() {
        Origin::Folder(given.to_owned())
    } else if metadata.is_file() {
        Origin::File(given.to_owned())
    } else {
        return Err(Failure::Usage(format!("{} is neither a file nor a folder", given.display())));
    };
    Ok(Input { origin, relative: given.file_name().unwrap_or(OsStr::new("model")).into() })
}

fn walk(folder: &Path, out: Option<&Path>, inputs: &mut Vec<Input>) -> Result<(), Failure> {
    let before = inputs.len();
    let is_out = |path: &Path| out.is_some_and(|out| path.canonicalize().is_ok_and(|path| path == out));
    let entries = WalkDir::new(folder).sort_by_file_name().into_iter().filter_entry(|entry| {
        entry.depth() == 0
            || !(is_hidden(entry.file_name()) || entry.file_type().is_dir() && is_out(entry.path()))
    });
    for entry in entries {
        let entry = entry.map_err(|error| {
            Failure::Failed(format!("could not read the folder {}: {error}", folder.display()))
        })?;
        let path = entry.into_path();
        // Links to files count as files. Links to folders are not followed, so that every walk ends.
        if path.is_file() && is_model(&path) {
            let relative = path.strip_prefix(folder).unwrap_or(&path).to_owned();
            inputs.push(Input { origin: Origin::File(path), relative });
        }
    }
    if inputs.len() == before {
        return Err(Failure::Usage(format!("there is no model in the folder {}", folder.display())));
    }
    Ok(())
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    fn relatives(inputs: &[Input]) -> Vec<&str> {
        inputs.iter().map(|input| input.relative.to_str().unwrap()).collect()
    }

    #[test]
    fn only_the_models_of_a_folder_are_converted() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["b/c.fbx", "a.glb", "a.png", "m.mtl", ".hidden.glb", ".git/x.obj", "out/old.glb", "z.ZIP"]
        {
            touch(&folder.path().join(name));
        }
        let inputs = gather(&[folder.path().to_owned()], &folder.path().join("out")).unwrap();
        assert_eq!(relatives(&inputs), ["a.glb", "b/c.fbx", "z.ZIP"]);
    }

    #[test]
    fn a_named_file_may_have_any_extension() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scan.42");
        touch(&path);
        let inputs = gather(&[path.clone(), path], Path::new("out")).unwrap();
        assert_eq!(relatives(&inputs), ["scan.42"]);
    }

    #[test]
    fn the_output_folder_may_be_the_input_folder() {
        let folder = tempfile::tempdir().unwrap();
        touch(&folder.path().join("a.fbx"));
        let inputs = gather(&[folder.path().to_owned()], folder.path()).unwrap();
        assert_eq!(relatives(&inputs), ["a.fbx"]);
    }

    #[test]
    fn a_missing_input_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let missing = gather(&[folder.path().join("no.fbx")], Path::new("out")).unwrap_err();
        assert!(missing.to_string().contains("no.fbx"));
        let empty = gather(&[folder.path().to_owned()], Path::new("out")).unwrap_err();
        assert!(empty.to_string().contains("no model"));
    }

    #[test]
    fn a_folder_with_an_output_file_is_one_model() {
        let folder = tempfile::tempdir().unwrap();
        let input = single(folder.path()).unwrap();
        assert_eq!(input.origin, Origin::Folder(folder.path().to_owned()));
    }
}
