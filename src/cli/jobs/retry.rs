//! How often an upload or a download is tried again, and after which pauses.

use std::time::Duration;

use super::error::ApiError;

/// The pauses before further attempts.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// Longest `Retry-After` that is waited for: the default window of rate limits.
const LONGEST: Duration = Duration::from_mins(1);

/// Counts attempts that failed.
#[derive(Debug, Default)]
pub struct Retries {
    failed: usize,
    /// Whether the server was reached. If it never was, its address may be wrong.
    reached: bool,
}

impl Retries {
    /// Counts a failed attempt, and returns the pause before the next one; `None` if there should be none.
    pub fn pause(&mut self, error: &ApiError) -> Option<Duration> {
        self.reached |= !matches!(error, ApiError::Unreachable { .. });
        if !self.reached || !error.is_temporary() {
            return None;
        }
        let pause = *PAUSES.get(self.failed)?;
        self.failed += 1;
        let asked = error.retry_after().unwrap_or_default();
        (asked <= LONGEST).then(|| pause.max(asked))
    }

    /// Forgets the failures, because an attempt got further.
    pub fn reset(&mut self) {
        *self = Self { failed: 0, reached: true };
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;
    use crate::cli::jobs::error::Refusal;

    fn unreachable() -> ApiError {
        ApiError::Unreachable { server: "http://a".to_owned(), cause: "refused".to_owned() }
    }

    fn busy(retry_after: Option<u64>) -> ApiError {
        ApiError::Refused(Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: String::new(),
            detail: String::new(),
            request_id: None,
            retry_after: retry_after.map(Duration::from_secs),
        })
    }

    #[test]
    fn a_server_that_was_never_reached_is_not_asked_again() {
        let mut retries = Retries::default();
        assert_eq!(retries.pause(&unreachable()), None);
        assert!(retries.pause(&busy(None)).is_some());
        assert!(retries.pause(&unreachable()).is_some());
    }

    #[test]
    fn attempts_have_an_end_unless_they_get_further() {
        let mut retries = Retries::default();
        for pause in PAUSES {
            assert_eq!(retries.pause(&busy(None)), Some(pause));
        }
        assert_eq!(retries.pause(&busy(None)), None);
        retries.reset();
        assert_eq!(retries.pause(&unreachable()), Some(PAUSES[0]));
    }

    #[test]
    fn retry_after_makes_a_pause_longer_within_a_limit() {
        let mut retries = Retries::default();
        assert_eq!(retries.pause(&busy(Some(30))), Some(Duration::from_secs(30)));
        assert_eq!(retries.pause(&busy(Some(0))), Some(PAUSES[1]));
        assert_eq!(retries.pause(&busy(Some(61))), None);
    }
}
