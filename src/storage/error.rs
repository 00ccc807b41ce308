//! Errors of the store, each one sentence for operators.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};

use object_store::client::{HttpError, HttpErrorKind};

/// Why an operation failed. A missing object is no error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    pub trouble: Trouble,
    /// One sentence for operators, which names the store and no secret.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The store does not answer, or too late.
    Unreachable,
    /// The credentials are wrong, missing or insufficient, or the folder belongs to another user.
    Denied,
    NoBucket,
    Full,
    ReadOnly,
    /// Not the store's trouble: the file to be stored, or the folder to download to, is at fault.
    NotOfStore,
    Other,
}

impl Trouble {
    /// The word that probes show.
    pub fn word(self) -> &'static str {
        match self {
            Trouble::Unreachable => "unreachable",
            Trouble::Denied => "denied",
            Trouble::NoBucket => "no_bucket",
            Trouble::Full => "full",
            Trouble::ReadOnly => "read_only",
            Trouble::NotOfStore | Trouble::Other => "failing",
        }
    }
}

/// Error codes of S3, GCS and Azure.
const NO_BUCKET: [&str; 3] = ["NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"];
const DENIED: [&str; 9] = [
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "AuthenticationFailed",
    "AuthorizationFailure",
    "AuthorizationPermissionMismatch",
];
const FULL: [&str; 3] = ["QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"];
/// Paths from which the library gets the credentials of a cloud machine, if it has no others.
const METADATA: [&str; 3] = ["/latest/api/token", "/computeMetadata/", "/metadata/identity/"];

impl Error {
    /// The store did not answer for `seconds`.
    pub fn late(store: &str, seconds: u64) -> Self {
        Self {
            trouble: Trouble::Unreachable,
            detail: format!("{store} does not answer within {seconds} seconds"),
        }
    }

    /// An error of this machine, not of the store, that prevented `what` ("read the result").
    pub fn not_of_store(what: &str, error: &io::Error) -> Self {
        Self { trouble: Trouble::NotOfStore, detail: format!("could not {what}: {error}") }
    }

    /// The folder of the objects of jobs is absent although there are jobs, or is another than before: this process was
    /// given another store than those that accepted the jobs, or a disk is not mounted.
    pub fn no_jobs(store: &str) -> Self {
        let detail = format!(
            "{store} holds no jobs of this queue: give workers the STORAGE_URL, or the DATA_DIR, of their gateways, or \
             mount its disk"
        );
        Self { trouble: Trouble::Other, detail }
    }

    pub fn other(store: &str, what: &str) -> Self {
        Self { trouble: Trouble::Other, detail: format!("{store}: {what}") }
    }

    /// An error of the store's file system.
    pub fn io(store: &str, error: &io::Error) -> Self {
        let (trouble, what) = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => (Trouble::Full, "is on a disk that is full"),
            ErrorKind::ReadOnlyFilesystem => (Trouble::ReadOnly, "is on a disk that cannot be written to"),
            ErrorKind::PermissionDenied => (Trouble::Denied, "cannot be written to or read by this user"),
            _ => return Self::other(store, &error.to_string()),
        };
        Self { trouble, detail: format!("{store} {what}") }
    }

    /// An error of the library, whose own text is for programmers and holds pages of XML.
    pub fn of_library(store: &str, error: &object_store::Error) -> Self {
        use object_store::Error::{PermissionDenied, Unauthenticated};
        let text = error.to_string();
        let code = code(&text);
        let because = code.map(|code| format!(" ({code})")).unwrap_or_default();
        let new = |trouble, what: &str| Self { trouble, detail: format!("{store} {what}{because}") };
        let is_one_of = |codes: &[&str]| code.is_some_and(|code| codes.contains(&code));
        if is_one_of(&NO_BUCKET) {
            return new(Trouble::NoBucket, "does not exist");
        }
        if is_one_of(&FULL) {
            return new(Trouble::Full, "is full");
        }
        if METADATA.iter().any(|path| text.contains(path)) {
            let what = "needs credentials, and neither the environment nor the machine has any";
            return new(Trouble::Denied, what);
        }
        // When a listing is denied, only the code tells so.
        if matches!(error, PermissionDenied { .. } | Unauthenticated { .. }) || is_one_of(&DENIED) {
            return new(Trouble::Denied, "refuses the credentials");
        }
        for cause in causes(error) {
            if let Some(http) = cause.downcast_ref::<HttpError>() {
                return Self::of_http(store, http);
            }
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                return Self::io(store, io);
            }
        }
        match code {
            Some(code) => Self::other(store, &format!("it answers {code}")),
            // The first line is for people.
            None => Self::other(store, text.lines().next().unwrap_or_default()),
        }
    }

    fn of_http(store: &str, error: &HttpError) -> Self {
        let detail = match error.kind() {
            HttpErrorKind::Timeout => format!("{store} does not answer in time"),
            _ => format!("{store} cannot be reached: {}", innermost(error)),
        };
        Self { trouble: Trouble::Unreachable, detail }
    }
}

/// Returns the error and all its causes, the innermost last.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

pub fn innermost<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    causes(error).last().unwrap_or(error)
}

/// Whether an error means only that an object is absent. S3 answers the same status for a missing bucket.
pub fn is_absent(error: &object_store::Error) -> bool {
    let object_store::Error::NotFound { source, .. } = error else { return false };
    !code(&source.to_string()).is_some_and(|code| NO_BUCKET.contains(&code))
}

/// The error code in the XML of a response.
fn code(text: &str) -> Option<&str> {
    let (code, _) = text.split_once("<Code>")?.1.split_once("</Code>")?;
    let is_code = (1..64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_code.then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_errors_are_classified() {
        let full = Error::io("/srv", &io::ErrorKind::StorageFull.into());
        assert_eq!((full.trouble, full.detail.as_str()), (Trouble::Full, "/srv is on a disk that is full"));
        let inner = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
        let wrapped = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(inner) };
        assert_eq!(Error::of_library("/srv", &wrapped).trouble, Trouble::ReadOnly);
        assert_eq!(Error::io("/srv", &io::ErrorKind::NotADirectory.into()).trouble, Trouble::Other);
    }

    #[test]
    fn bucket_errors_are_classified_by_code() {
        for (code, trouble) in [
            ("NoSuchBucket", Trouble::NoBucket),
            ("QuotaExceeded", Trouble::Full),
            ("SlowDown", Trouble::Other),
        ] {
            let source = format!("403: <Error><Code>{code}</Code><Key>secret</Key></Error>").into();
            let error = Error::of_library("s3://b", &object_store::Error::Generic { store: "S3", source });
            assert_eq!(error.trouble, trouble);
            assert!(error.detail.contains(code) && !error.detail.contains("secret"), "{error}");
        }
        let source = "<Code>InvalidAccessKeyId</Code>".into();
        let error = Error::of_library(
            "s3://b",
            &object_store::Error::PermissionDenied { path: "x".to_owned(), source },
        );
        assert_eq!(error.detail, "s3://b refuses the credentials (InvalidAccessKeyId)");
    }
}
