//! The seam between the command line and the parts that do the work.

use std::path::PathBuf;

use super::plan::Origin;
use crate::domain::{ConversionError, Format};
use crate::intake::Source;
use crate::service::Converter;

/// What carries out at most `at_once` conversions at a time.
///
/// # Errors
/// When it cannot start at all.
#[allow(clippy::unnecessary_wraps)]
pub fn converter(_at_once: usize) -> Result<Converter, ConversionError> {
    Ok(Converter)
}

/// Where the model of a job is read from; `spooled` holds what came from standard input.
pub fn source(origin: &Origin, spooled: Option<PathBuf>) -> Source {
    match (origin, spooled) {
        (_, Some(path)) => Source::FileWithSiblings(path),
        (Origin::Folder(path), None) => Source::Folder(path.clone()),
        (Origin::File(path), None) => Source::FileWithSiblings(path.clone()),
        (Origin::Stdin, None) => Source::FileWithSiblings(PathBuf::from("/dev/stdin")),
    }
}

/// The name under which standard input is kept.
pub fn stdin_name(from: Option<Format>) -> String {
    from.map_or_else(|| "model".to_owned(), |format| format!("model.{}", super::plan::extension(format)))
}

/// The program that is the engine, and whether it is a full Blender.
///
/// # Errors
/// One sentence that says how to get it.
pub fn engine() -> Result<(PathBuf, bool), String> {
    for (setting, full) in [("BLENDER_PYTHON", false), ("BLENDER_BIN", true)] {
        if let Some(path) = std::env::var_os(setting).filter(|value| !value.is_empty()) {
            let path = PathBuf::from(path);
            return if path.is_file() {
                Ok((path, full))
            } else {
                Err(format!("{setting} names {}, which is not there", path.display()))
            };
        }
    }
    let beside =
        std::env::current_exe().ok().and_then(|path| path.parent().map(|folder| folder.join(".venv")));
    [Some(PathBuf::from(".venv")), beside, super::engine::default_folder()]
        .into_iter()
        .flatten()
        .map(|environment| environment.join("bin/python"))
        .find(|python| python.is_file())
        .map(|python| (python, false))
        .ok_or_else(|| "not found; get it with: meshgate engine install".to_owned())
}
