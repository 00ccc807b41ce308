//! Errors of reading files of the glTF family, and the check of their version.

use std::io;

use crate::domain::{ConversionError, ErrorCode};

/// Returns `import_failed`, the error of an invalid model.
pub fn malformed(sentence: impl Into<String>) -> ConversionError {
    ConversionError::new(ErrorCode::ImportFailed, sentence)
}

/// Returns the error of reading `part` of a model: the model is to blame when it ends early or its bytes are invalid.
pub fn unreadable(part: &str, error: &io::Error) -> ConversionError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => malformed(format!("the file is truncated within {part}")),
        io::ErrorKind::InvalidData => malformed(format!("{part} of the file is damaged: {error}")),
        _ => ConversionError::io(&format!("read {part} of the file"), error),
    }
}

/// Checks the `version` in a file's `asset`.
///
/// # Errors
/// `import_failed` for any other than 2.x.
pub fn check_version(version: Option<&str>) -> Result<(), ConversionError> {
    let Some(version) = version.filter(|version| !version.is_empty()) else {
        return Err(malformed("the file does not say its glTF version"));
    };
    if version == "2" || version.starts_with("2.") {
        return Ok(());
    }
    let shown: String = version.chars().filter(|c| c.is_ascii_digit() || *c == '.').take(8).collect();
    Err(malformed(format!("the file is glTF {shown}; only glTF 2.0 can be read")))
}
