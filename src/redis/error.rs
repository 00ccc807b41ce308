//! Errors of Redis.

use std::time::Duration;

use ::redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::domain::error::one_line;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Redis is unavailable; no command was sent.
    #[error("redis is unavailable")]
    Unavailable,
    #[error("it did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The connection broke, or Redis cannot serve.
    #[error("{0}")]
    Failed(String),
    /// The memory of Redis is full.
    #[error("{0}")]
    Full(String),
    /// Redis works, but not in the way that its user needs.
    #[error("{0}")]
    Unsuitable(String),
    /// Redis works, but rejects this command.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// Whether the error concerns Redis as a whole, not only one command.
    pub(super) fn concerns_server(&self) -> bool {
        matches!(self, Error::TimedOut(_) | Error::Failed(_) | Error::Full(_))
    }

    /// The label for metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Error::TimedOut(_) => "late",
            _ => "error",
        }
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        let text = match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) => {
                "it does not let this user in with this password".to_owned()
            }
            (_, Some("NOAUTH")) => "it asks for a password".to_owned(),
            (ErrorKind::Parse, _) if is_malformed(&error) => "it does not answer like a Redis".to_owned(),
            (_, Some("ERR")) => format!("Redis says: ERR {}", error.detail().unwrap_or_default()),
            (_, Some(code)) => format!("{code} {}", error.detail().unwrap_or_default()),
            _ => error.to_string(),
        };
        let text = one_line(text.trim_end());
        if error.code() == Some("OOM") {
            return Error::Full(text);
        }
        let concerns_command = match error.kind() {
            ErrorKind::Server(kind) => {
                matches!(kind, ServerErrorKind::ResponseError | ServerErrorKind::ExecAbort)
            }
            ErrorKind::Extension => matches!(error.code(), Some("WRONGTYPE" | "BUSYGROUP")),
            ErrorKind::UnexpectedReturnType => true,
            _ => false,
        };
        if concerns_command { Error::Refused(text) } else { Error::Failed(text) }
    }
}

/// Whether the bytes of the answer are not those of a Redis. Answers of an unexpected type have the same kind.
fn is_malformed(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.starts_with("Parse error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str, detail: &str) -> Error {
        ::redis::make_extension_error(code.to_owned(), Some(detail.to_owned())).into()
    }

    #[test]
    fn only_server_errors_make_redis_unavailable() {
        assert!(!of("WRONGTYPE", "Operation against a key").concerns_server());
        for code in ["OOM", "MISCONF", "NOAUTH", "BUSY", "READONLY"] {
            assert!(of(code, "").concerns_server(), "{code}");
            assert_eq!(matches!(of(code, ""), Error::Full(_)), code == "OOM");
        }
        assert!(
            !Error::from(RedisError::from((ErrorKind::UnexpectedReturnType, "no number"))).concerns_server()
        );
        assert!(Error::from(RedisError::from((ErrorKind::AuthenticationFailed, ""))).concerns_server());
        assert!(
            Error::from(RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)))
                .concerns_server()
        );
    }

    #[test]
    fn error_messages_are_one_line() {
        assert_eq!(of("OOM", "command not allowed\nnow").to_string(), "OOM command not allowed now");
        assert_eq!(of("NOAUTH", "Authentication required.").to_string(), "it asks for a password");
        assert_eq!(
            Error::TimedOut(Duration::from_millis(250)).to_string(),
            "it did not answer within 250 ms"
        );
        let error = of("ERR", "DB index is out of range");
        assert_eq!(error.to_string(), "Redis says: ERR DB index is out of range");
    }

    #[test]
    fn another_service_is_told_from_a_redis() {
        let answer = ::redis::parse_redis_value(b"HTTP/1.1 400 Bad Request\r\n");
        let error = Error::from(answer.unwrap_err());
        assert_eq!(error.to_string(), "it does not answer like a Redis");
        assert!(error.concerns_server());
    }
}
