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
