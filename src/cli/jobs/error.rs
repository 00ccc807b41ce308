//! Why a call failed, in one sentence that says what to do.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;

use crate::causes;
use crate::cli::failure::Failure;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There was no connection.
    #[error("could not connect to {server}: {cause}; check --server, and whether the server runs")]
    Unreachable { server: String, cause: String },
    /// The connection ended, or was silent, before the response was complete.
    #[error("the connection to {server} broke off: {cause}; try again")]
    Broken { server: String, cause: String },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{server} does not answer like Meshgate: {what}; check --server")]
    Foreign { server: String, what: String },
    /// Something on this machine.
    #[error(transparent)]
    Local(#[from] LocalError),
}

/// A file of this machine could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct LocalError(pub String);

/// A response with an error status.
#[derive(Debug, thiserror::Error)]
pub struct Refusal {
    pub status: StatusCode,
    /// The stable name of the error; empty if the response has none.
    pub code: String,
    pub detail: String,
    pub request_id: Option<String>,
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// The error of a request to `server` without a response, or of its response's body.
    pub fn from_reqwest(error: &reqwest::Error, server: &str) -> Self {
        if let Some(local) = causes::find::<LocalError>(error) {
            return ApiError::Local(local.clone());
        }
        let (server, cause) = (server.to_owned(), causes::innermost(error));
        if error.is_connect() {
            ApiError::Unreachable { server, cause }
        } else {
            ApiError::Broken { server, cause }
        }
    }

    /// Whether the same request may succeed a moment later.
    pub fn is_temporary(&self) -> bool {
        match self {
            ApiError::Unreachable { .. } | ApiError::Broken { .. } => true,
            ApiError::Refused(refusal) => refusal.is_temporary(),
            ApiError::Foreign { .. } | ApiError::Local(_) => false,
        }
    }

    /// When the server wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            ApiError::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}

impl Refusal {
    fn is_temporary(&self) -> bool {
        // The result of a job that took too long is a 504 for ever, and without a place in the cluster a 503.
        let is_final = matches!(self.code.as_str(), "timeout" | "no_capacity");
        let is_temporary = matches!(self.status.as_u16(), 408 | 429 | 502 | 503 | 504);
        // The server still receives the upload that broke off.
        (is_temporary && !is_final) || self.code == "idempotency_key_in_flight"
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.detail)?;
        if self.code == "job_not_finished" {
            out.write_str("; wait for it with `meshgate jobs watch`")?;
        }
        let code = Some(self.code.as_str()).filter(|code| !code.is_empty()).map(str::to_owned);
        let request = self.request_id.as_ref().map(|id| format!("request {id}"));
        let notes: Vec<_> = [code, request].into_iter().flatten().collect();
        if notes.is_empty() { Ok(()) } else { write!(out, " ({})", notes.join(", ")) }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Failure::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn refusal(status: u16, code: &str) -> Refusal {
        Refusal {
            status: StatusCode::from_u16(status).unwrap(),
            code: code.to_owned(),
            detail: "no job has this ID".to_owned(),
            request_id: None,
            retry_after: None,
        }
    }

    #[test]
    fn a_refusal_shows_its_detail_and_request() {
        let mut error = refusal(404, "not_found");
        assert_eq!(error.to_string(), "no job has this ID (not_found)");
        error.request_id = Some("01975d3c".to_owned());
        assert_eq!(error.to_string(), "no job has this ID (not_found, request 01975d3c)");
        error.code.clear();
        assert_eq!(error.to_string(), "no job has this ID (request 01975d3c)");
        assert_eq!(refusal(502, "").to_string(), "no job has this ID");
        let waiting = refusal(409, "job_not_finished").to_string();
        assert!(waiting.contains("meshgate jobs watch"), "{waiting}");
    }

    #[test]
    fn only_temporary_errors_are_tried_again() {
        for (status, code, is_temporary) in [
            (429, "rate_limited", true),
            (503, "jobs_unavailable", true),
            (502, "", true),
            (504, "", true),
            (408, "request_timeout", true),
            (409, "idempotency_key_in_flight", true),
            (409, "job_not_finished", false),
            (504, "timeout", false),
            (503, "no_capacity", false),
            (401, "unauthorized", false),
            (422, "import_failed", false),
            (507, "jobs_full", false),
        ] {
            assert_eq!(ApiError::from(refusal(status, code)).is_temporary(), is_temporary, "{status} {code}");
        }
    }

    #[test]
    fn local_errors_are_found_within_others() {
        let nested = io::Error::other(io::Error::other(LocalError("could not read a.glb".to_owned())));
        assert_eq!(causes::find::<LocalError>(&nested).unwrap().0, "could not read a.glb");
        assert_eq!(causes::innermost(&nested), "could not read a.glb");
    }
}
