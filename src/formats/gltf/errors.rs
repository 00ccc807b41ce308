//! What is wrong with a file of the glTF family.

use std::io;

use crate::domain::{ConversionError, ErrorCode};

/// A model that is not what it should be.
pub fn malformed(sentence: impl Into<String>) -> ConversionError {
    ConversionError::new(ErrorCode::ImportFailed, sentence)
}

/// An error while reading `what` of a model: the file's fault when it ends early or is badly coded.
pub fn unreadable(what: &str, error: &io::Error) -> ConversionError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => malformed(format!("the file is truncated within {what}")),
        io::ErrorKind::InvalidData => malformed(format!("{what} of the file is damaged: {error}")),
        _ => ConversionError::io(&format!("read {what} of the file"), error),
    }
}
