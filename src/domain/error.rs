//! Errors of a conversion: a stable list of codes, with one sentence each.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The stable name of an error: clients match on it, documents list it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// An option that does not exist.
    UnknownOption,
    /// An option's value is not of its kind.
    InvalidOption,
    /// The target is no format we write.
    UnsupportedOutputFormat,
    /// The content is no format we know.
    UnknownFormat,
    /// The source cannot hold what the target needs.
    UnsupportedPair,
    /// The file has no bytes.
    EmptyFile,
    /// A zip that is damaged, nested or unsafe.
    InvalidArchive,
    /// A zip that asks for a password.
    EncryptedArchive,
    /// A zip, file or model above a limit.
    TooLarge,
    /// More than one file could be the model, or different files have one name.
    AmbiguousModel,
    /// Geometry that the model refers to was not sent.
    MissingFiles,
    /// The file could not be read as what it is.
    ImportFailed,
    /// There is nothing in the model.
    EmptyModel,
    /// The target is animation and the model has none.
    NoAnimation,
    /// The target is an avatar and the skeleton is not human.
    NotHumanoid,
    /// The target could not be written.
    ExportFailed,
    /// The result lacks the geometry that went in.
    GeometryLost,
    /// The conversion grew past its memory limit.
    MemoryLimit,
    /// The result grew past the limit on its size.
    OutputTooLarge,
    /// The conversion took longer than allowed.
    Timeout,
    /// The caller gave up.
    Cancelled,
    /// Blender crashed or hung on this model, twice.
    EngineCrashed,
    /// No engine is running at the moment.
    EngineUnavailable,
    /// The disk is full.
    DiskFull,
    /// A result would replace an existing file.
    OutputExists,
    /// A file could not be read or written.
    Io,
    /// The request holds no file.
    NoFile,
    /// A file was sent without a name.
    NoFileName,
    /// A file's name has no extension.
    NoExtension,
    /// The request names no target format.
    NoOutputFormat,
    /// The file's name says a format we do not read.
    UnsupportedInputFormat,
    /// The request is not what HTTP or multipart allow.
    MalformedRequest,
    /// The body has a transfer coding other than chunked.
    UnsupportedTransferCoding,
    /// The request's address and headers are too long.
    HeadTooLarge,
    /// The body stopped coming.
    RequestTimeout,
    /// Nothing is at this address.
    NotFound,
    /// It was here, and is older than anything is kept.
    Expired,
    /// The address does not take this method.
    MethodNotAllowed,
    /// The key is missing or wrong.
    Unauthorized,
    /// The client has asked for as many conversions as it may for now.
    RateLimited,
    /// As many conversions wait as may.
    QueueFull,
    /// As many connections are open as may.
    TooManyConnections,
    /// Unfinished uploads, or reports that are being sent, take as many bytes as they may.
    Overloaded,
    /// The service is stopping.
    ShuttingDown,
    /// Our fault.
    Internal,
}

impl ErrorCode {
    /// Whether the model and the request alone cause the error, so that a retry would fail alike. Errors that may come
    /// from load, from limits of time and memory, or from this machine do not count.
    pub fn is_models_fault(self) -> bool {
        match self {
            ErrorCode::UnknownOption
            | ErrorCode::InvalidOption
            | ErrorCode::UnsupportedOutputFormat
            | ErrorCode::UnknownFormat
            | ErrorCode::UnsupportedPair
            | ErrorCode::EmptyFile
            | ErrorCode::InvalidArchive
            | ErrorCode::EncryptedArchive
            | ErrorCode::TooLarge
            | ErrorCode::AmbiguousModel
            | ErrorCode::MissingFiles
            | ErrorCode::ImportFailed
            | ErrorCode::EmptyModel
            | ErrorCode::NoAnimation
            | ErrorCode::NotHumanoid
            | ErrorCode::ExportFailed
            | ErrorCode::GeometryLost
            | ErrorCode::OutputTooLarge => true,
            // A crash may come from the kernel, which kills the largest process when memory runs out.
            ErrorCode::EngineCrashed
            | ErrorCode::MemoryLimit
            | ErrorCode::Timeout
            | ErrorCode::Cancelled
            | ErrorCode::EngineUnavailable
            | ErrorCode::DiskFull
            | ErrorCode::OutputExists
            | ErrorCode::Io
            | ErrorCode::QueueFull
            | ErrorCode::ShuttingDown
            | ErrorCode::Internal
            // Errors of requests, not of conversions.
            | ErrorCode::NoFile
            | ErrorCode::NoFileName
            | ErrorCode::NoExtension
            | ErrorCode::NoOutputFormat
            | ErrorCode::UnsupportedInputFormat
            | ErrorCode::MalformedRequest
            | ErrorCode::UnsupportedTransferCoding
            | ErrorCode::HeadTooLarge
            | ErrorCode::RequestTimeout
            | ErrorCode::NotFound
            | ErrorCode::Expired
            | ErrorCode::MethodNotAllowed
            | ErrorCode::Unauthorized
            | ErrorCode::RateLimited
            | ErrorCode::TooManyConnections
            | ErrorCode::Overloaded => false,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A conversion that failed: a code for programs and one sentence for people.
///
/// The sentence is lower case, has no trailing period, and names no path of the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{detail}")]
pub struct ConversionError {
    pub code: ErrorCode,
    pub detail: String,
}

impl ConversionError {
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: one_line(&detail.into()) }
    }

    /// The error of a result that would have more than `most` bytes.
    pub fn output_too_large(most: u64) -> Self {
        let detail = format!(
            "the result would be larger than {} MiB; give the model less detail or fewer copies of it, or raise \
             MAX_UNPACKED_SIZE",
            most >> 20
        );
        Self::new(ErrorCode::OutputTooLarge, detail)
    }

    /// The error of an I/O failure while doing `what` ("write the result"). A full disk gets its own code. A
    /// [`ConversionError`] that came through a reader or writer is returned as it is. Paths that libraries put into
    /// their errors are left out.
    pub fn io(what: &str, error: &std::io::Error) -> Self {
        if let Some(ours) = error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
            return ours.clone();
        }
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorCode::DiskFull,
            _ => ErrorCode::Io,
        };
        Self::new(code, format!("could not {what}: {}", without_number(&without_paths(error))))
    }
}

/// Describes an error in a file's JSON without the names of our types. The text is cut, because it may quote the file.
pub fn of_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let plain = match text.split_once(", expected struct ") {
        Some((before, after)) => {
            let place = after.find(' ').and_then(|end| after.get(end..)).unwrap_or_default();
            format!("{before}, expected an object{place}")
        }
        None => text,
    };
    plain.chars().take(200).collect()
}

/// Removes the system's error number, which tells a user nothing.
fn without_number(text: &str) -> &str {
    text.rsplit_once(" (os error ").map_or(text, |(words, _)| words)
}

/// Returns the text of an I/O error without the paths that directory walkers and temporary files add.
fn without_paths(error: &std::io::Error) -> String {
    let text = error.to_string();
    if !text.contains('/') {
        return text;
    }
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(code) = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) {
            return std::io::Error::from_raw_os_error(code).to_string();
        }
        cause = inner.source();
    }
    error.kind().to_string()
}

/// Returns the text on one line. Names from a model may hold control characters, which could break a log or write to a
/// terminal, and characters that turn the direction of text; both become spaces.
pub fn one_line(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    text.chars().map(|c| if harmful(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_one_line() {
        let error = ConversionError::new(ErrorCode::Internal, "a\nb\x1b[2Jc\u{202e}d \u{732b}\u{200d}");
        assert_eq!(error.detail, "a b [2Jc d \u{732b}\u{200d}");
    }

    #[test]
    fn no_error_of_a_library_brings_a_path() {
        let walked = walkdir::WalkDir::new("/nowhere").into_iter().next().unwrap().unwrap_err();
        let temporary = tempfile::NamedTempFile::new_in("/nowhere").unwrap_err();
        for error in [walked.into(), temporary] {
            assert!(std::io::Error::to_string(&error).contains("/nowhere"), "{error}");
            let said = ConversionError::io("read the folder", &error).detail;
            assert!(said.starts_with("could not read the folder: ") && !said.contains('/'), "{said}");
        }
        let plain = std::fs::File::open("/nowhere").unwrap_err();
        let said = ConversionError::io("read the model", &plain).detail;
        assert_eq!(said, "could not read the model: No such file or directory");
    }

    #[test]
    fn no_type_of_ours_is_named() {
        #[derive(Debug, Deserialize)]
        struct View {
            #[expect(dead_code, reason = "only its type matters")]
            length: u32,
        }
        for (text, expected) in [
            ("3", "invalid type: integer `3`, expected an object at line 1 column 1"),
            (r#"{"length":"a"}"#, "invalid type: string \"a\", expected u32 at line 1 column 13"),
            ("{", "EOF while parsing an object at line 1 column 1"),
        ] {
            assert_eq!(of_json(&serde_json::from_str::<View>(text).unwrap_err()), expected);
        }
    }

    #[test]
    fn codes_are_snake_case() {
        assert_eq!(ErrorCode::EngineCrashed.to_string(), "engine_crashed");
    }
}
