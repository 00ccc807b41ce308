//! How often a call is tried again, and after which pauses.

use std::time::Duration;

use tokio::time::sleep;

use super::error::ApiError;
use super::print::aside;

/// The pauses before further attempts; the last one also before those that follow them.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// How long a server is waited for that is away, or refuses for the moment.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Longest `Retry-After` that is waited for: the default window of rate limits.
const LONGEST: Duration = Duration::from_mins(1);

/// Counts attempts that failed.
#[derive(Debug, Default)]
pub struct Retries {
    failed: usize,
    /// The pauses so far.
    waited: Duration,
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
        // A connection that breaks off at each attempt will not hold later; a model would be sent in vain many times.
        let may_wait = !matches!(error, ApiError::Broken { .. }) && self.waited < PATIENCE;
        let further = PAUSES.last().filter(|_| may_wait);
        let pause = *PAUSES.get(self.failed).or(further)?;
        let asked = error.retry_after().unwrap_or_default();
        if asked > LONGEST {
            return None;
        }
        let pause = pause.max(asked);
        self.failed += 1;
        self.waited += pause;
        Some(pause)
    }

    /// Forgets the failures, because an attempt got further.
    pub fn reset(&mut self) {
        *self = Self { reached: true, ..Self::default() };
    }
}

/// A line that says why a call is made again, for up to [`PATIENCE`].
pub fn explain(error: &ApiError) -> String {
    match error {
        ApiError::Refused(refusal) if refusal.code == "jobs_unavailable" => {
            "the server cannot reach its jobs (jobs_unavailable); trying for two minutes".to_owned()
        }
        _ => format!("{error}; trying for two minutes"),
    }
}

/// Makes a call, again while its error may pass; says so on standard error before the first pause.
pub async fn patiently<T, F: Future<Output = Result<T, ApiError>>>(
    call: impl Fn() -> F,
) -> Result<T, ApiError> {
    let mut retries = Retries::default();
    let mut has_said = false;
    loop {
        let error = match call().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let Some(pause) = retries.pause(&error) else { return Err(error) };
        if !std::mem::replace(&mut has_said, true) {
            aside(explain(&error));
        }
        sleep(pause).await;
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

    fn broken() -> ApiError {
        ApiError::Broken { server: "http://a".to_owned(), cause: "reset".to_owned() }
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
            assert_eq!(retries.pause(&broken()), Some(pause));
        }
        assert_eq!(retries.pause(&broken()), None);
        retries.reset();
        assert_eq!(retries.pause(&unreachable()), Some(PAUSES[0]));
    }

    #[test]
    fn a_server_that_is_away_is_waited_for_longer() {
        let mut retries = Retries::default();
        let mut waited = Duration::ZERO;
        while let Some(pause) = retries.pause(&busy(None)) {
            waited += pause;
        }
        assert!((PATIENCE..=PATIENCE + LONGEST).contains(&waited), "{waited:?}");
        assert_eq!(retries.pause(&unreachable()), None);
    }

    #[test]
    fn retry_after_makes_a_pause_longer_within_a_limit() {
        let mut retries = Retries::default();
        assert_eq!(retries.pause(&busy(Some(30))), Some(Duration::from_secs(30)));
        assert_eq!(retries.pause(&busy(Some(0))), Some(PAUSES[1]));
        assert_eq!(retries.pause(&busy(Some(61))), None);
    }
}
