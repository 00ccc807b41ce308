//! Errors of reading files of the glTF family.

use std::io;

use crate::domain::{ConversionError, ErrorCode};

/// Returns the error `import_failed` of a model that is not what it should be.
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
