//! Errors of a conversion: a stable list of codes, with one sentence each.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The stable name of an error, for clients to match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The option does not exist.
    UnknownOption,
    /// The value of an option is invalid, or the target does not support the option.
    InvalidOption,
    /// The address of the webhook may not be called, or webhooks are off.
    WebhookRefused,
    /// The target format is not supported.
    UnsupportedOutputFormat,
    /// The content is not in a supported format.
    UnknownFormat,
    /// The source format cannot hold content that the target format requires.
    UnsupportedPair,
    /// The file is empty.
    EmptyFile,
    /// The zip is damaged, nested or unsafe.
    InvalidArchive,
    /// The zip is encrypted.
    EncryptedArchive,
    /// The request, a file, the zip or the model exceeds a limit.
    TooLarge,
    /// More than one file could be the model, or different files have the same name.
    AmbiguousModel,
    /// The model refers to a file with geometry that was not sent.
    MissingFiles,
    /// The file could not be read in its format.
    ImportFailed,
    /// The model has no content, or none that the target can hold.
    EmptyModel,
    /// The target requires animation, and the model has none.
    NoAnimation,
    /// The target requires a humanoid skeleton, and the model has none.
    NotHumanoid,
    /// The result could not be written in the target format.
    ExportFailed,
    /// The result lacks geometry of the source.
    GeometryLost,
    /// The conversion exceeded its memory limit.
    MemoryLimit,
    /// The result exceeds its size limit.
    OutputTooLarge,
    /// The conversion exceeded its time limit.
    Timeout,
    /// The client hung up, or the conversion was interrupted.
    Cancelled,
    /// Blender crashed or hung twice on this model.
    EngineCrashed,
    /// The engine is not running.
    EngineUnavailable,
    /// The cluster has had no room for the Kubernetes Job of the job.
    NoCapacity,
    /// The disk is full.
    DiskFull,
    /// The result would replace an existing file.
    OutputExists,
    /// A file could not be read or written.
    Io,
    /// The request contains no file.
    NoFile,
    /// A file was sent without a file name.
    NoFileName,
    /// The file name has no extension.
    NoExtension,
    /// The request names no target format.
    NoOutputFormat,
    /// The file extension is not that of a supported format.
    UnsupportedInputFormat,
    /// The request, its multipart body or its query is malformed.
    MalformedRequest,
    /// The body does not have the digest that its headers announce.
    DigestMismatch,
    /// The body has a transfer coding other than chunked.
    UnsupportedTransferCoding,
    /// The request line and headers are too long.
    HeadTooLarge,
    /// The request body stopped or arrived too slowly.
    RequestTimeout,
    /// The path, the report or the job does not exist.
    NotFound,
    /// The report, the job or its result has expired.
    Expired,
    /// The path does not support this method.
    MethodNotAllowed,
    /// The API key is missing or wrong.
    Unauthorized,
    /// The client has reached its rate limit.
    RateLimited,
    /// The range is not within the file.
    RangeNotSatisfiable,
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// Another request with the same idempotency key is in progress.
    IdempotencyKeyInFlight,
    /// The client, or all clients together, have too many unfinished jobs.
    TooManyJobs,
    /// The models of unfinished jobs, of the client or of all clients, have reached their size limit.
    JobsFull,
    /// The job has not ended.
    JobNotFinished,
    /// The state of the job does not allow the request.
    WrongJobState,
    /// The client, or all clients together, have too many event streams of jobs.
    TooManyStreams,
    /// Jobs cannot be read or written at the moment.
    JobsUnavailable,
    /// The queue is full.
    QueueFull,
    /// The connection limit is reached.
    TooManyConnections,
    /// Unfinished uploads, or results or reports being sent, have reached their size limit.
    Overloaded,
    /// The service is stopping.
    ShuttingDown,
    /// An internal error occurred.
    Internal,
}

impl ErrorCode {
    /// Whether the model and the request alone cause the error, so that a retry would fail alike. Errors that may come
    /// from load, from limits of time and memory, or from this machine do not count.
    pub fn is_permanent(self) -> bool {
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
            | ErrorCode::NoCapacity
            | ErrorCode::DiskFull
            | ErrorCode::OutputExists
            | ErrorCode::Io
            | ErrorCode::QueueFull
            | ErrorCode::ShuttingDown
            | ErrorCode::Internal
            // Errors of requests, not of conversions.
            | ErrorCode::WebhookRefused
            | ErrorCode::NoFile
            | ErrorCode::NoFileName
            | ErrorCode::NoExtension
            | ErrorCode::NoOutputFormat
            | ErrorCode::UnsupportedInputFormat
            | ErrorCode::MalformedRequest
            | ErrorCode::DigestMismatch
            | ErrorCode::UnsupportedTransferCoding
            | ErrorCode::HeadTooLarge
            | ErrorCode::RequestTimeout
            | ErrorCode::NotFound
            | ErrorCode::Expired
            | ErrorCode::MethodNotAllowed
            | ErrorCode::Unauthorized
            | ErrorCode::RateLimited
            | ErrorCode::RangeNotSatisfiable
            | ErrorCode::IdempotencyKeyReused
            | ErrorCode::IdempotencyKeyInFlight
            | ErrorCode::TooManyJobs
            | ErrorCode::JobsFull
            | ErrorCode::JobNotFinished
            | ErrorCode::WrongJobState
            | ErrorCode::TooManyStreams
            | ErrorCode::JobsUnavailable
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
    /// Whether the engine ran, but went down or was killed during each attempt of this conversion, which need not be the
    /// model's fault. Jobs are tried again then.
    #[serde(skip)]
    pub is_engine_lost: bool,
}

impl ConversionError {
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: one_line(&detail.into()), is_engine_lost: false }
    }

    /// The error of a conversion during which Blender went down twice. The model may have nothing to do with it.
    pub fn engine_lost() -> Self {
        let detail = "blender went down twice during this conversion; try again";
        Self { is_engine_lost: true, ..Self::new(ErrorCode::EngineUnavailable, detail) }
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
    fn error_messages_are_one_line() {
        let error = ConversionError::new(ErrorCode::Internal, "a\nb\x1b[2Jc\u{202e}d \u{732b}\u{200d}");
        assert_eq!(error.detail, "a b [2Jc d \u{732b}\u{200d}");
    }

    #[test]
    fn library_errors_do_not_show_paths() {
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
    fn json_errors_do_not_name_internal_types() {
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
