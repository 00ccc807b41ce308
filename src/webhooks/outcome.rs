//! How an attempt to deliver a webhook ended, and when the next one is due.

use std::time::Duration;

use uuid::Uuid;

use super::client::{Answer, SendError};
use crate::jobs::NextAttempt;

/// The pause after the first attempt, the second, and so on; together about a day.
const PAUSES: [Duration; 10] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(2),
    Duration::from_hours(4),
    Duration::from_hours(8),
    Duration::from_hours(8),
];

/// The longest `Retry-After` that counts.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(8);

/// How much longer or shorter a pause may become, as a part of it. Otherwise all webhooks that a receiver missed while it
/// was away would come at once.
const JITTER: f64 = 0.2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    /// The receiver wants no more.
    Gone,
    /// The next attempt is due after this pause.
    Failed(Duration),
    /// All attempts have failed.
    GaveUp,
}

impl Outcome {
    /// `attempts`: those before this one.
    pub fn new(id: Uuid, attempts: u32, sent: &Result<Answer, SendError>) -> Self {
        let retry_after = match sent {
            Ok(Answer { status: 200..=299, .. }) => return Outcome::Delivered,
            Ok(Answer { status: 410, .. }) => return Outcome::Gone,
            Ok(Answer { status: 429 | 503, retry_after }) => retry_after.unwrap_or_default(),
            Ok(_) | Err(_) => Duration::ZERO,
        };
        match pause(id, attempts) {
            Some(pause) => Outcome::Failed(pause.max(retry_after.min(LONGEST_RETRY_AFTER))),
            None => Outcome::GaveUp,
        }
    }

    /// The value of the metric's label.
    pub const fn word(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Gone => "gone",
            Outcome::Failed(_) => "failed",
            Outcome::GaveUp => "gave_up",
        }
    }

    pub const fn next_attempt(self) -> NextAttempt {
        match self {
            Outcome::Failed(pause) => NextAttempt::After(pause),
            Outcome::Delivered | Outcome::Gone | Outcome::GaveUp => NextAttempt::Never,
        }
    }
}

/// Returns why an attempt failed, for the record of the job; `None` if it did not.
pub fn error(sent: &Result<Answer, SendError>) -> Option<String> {
    match sent {
        Ok(Answer { status: 200..=299, .. }) => None,
        Ok(Answer { status: status @ 300..=399, .. }) => {
            Some(format!("the response was {status}, and redirects are not followed"))
        }
        Ok(Answer { status, .. }) => Some(format!("the response was {status}")),
        Err(error) => Some(error.to_string()),
    }
}

/// Returns the pause after an attempt; `None` if it was the last one.
fn pause(id: Uuid, attempts: u32) -> Option<Duration> {
    let pause = PAUSES.get(attempts as usize)?;
    Some(with_jitter(*pause, id, attempts.into()))
}

/// Makes the pause of a delivery longer or shorter by [`JITTER`] at most. `number` differs from pause to pause.
pub fn with_jitter(pause: Duration, id: Uuid, number: u64) -> Duration {
    pause.mul_f64(1.0 + JITTER * spread(id, number))
}

/// Returns a number from -1 to 1 that differs from delivery to delivery and from `number` to `number`.
fn spread(id: Uuid, number: u64) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(id.as_bytes()).update(&number.to_le_bytes());
    let [low, high, ..] = *hasher.finalize().as_bytes();
    f64::from(u16::from_le_bytes([low, high])) / f64::from(u16::MAX) * 2.0 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhooks::address::AddressError;

    #[expect(clippy::unnecessary_wraps, reason = "the type of all answers")]
    fn answer(status: u16) -> Result<Answer, SendError> {
        Ok(Answer { status, retry_after: None })
    }

    #[expect(clippy::unnecessary_wraps, reason = "the type of all answers")]
    fn busy(status: u16, seconds: u64) -> Result<Answer, SendError> {
        Ok(Answer { status, retry_after: Some(Duration::from_secs(seconds)) })
    }

    fn first_pause(sent: &Result<Answer, SendError>) -> Duration {
        match Outcome::new(Uuid::from_u128(1), 0, sent) {
            Outcome::Failed(pause) => pause,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_2xx_is_a_success_and_only_410_is_final() {
        let of = |status| Outcome::new(Uuid::from_u128(1), 0, &answer(status));
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(of(status), Outcome::Delivered);
        }
        assert_eq!(of(410), Outcome::Gone);
        for status in [101, 301, 302, 307, 308, 400, 401, 404, 409, 429, 500, 502, 503, 504, 999] {
            assert!(matches!(of(status), Outcome::Failed(_)), "{status}");
        }
        for error in [SendError::Connect, SendError::Address(AddressError::NotPublic)] {
            assert!(matches!(Outcome::new(Uuid::from_u128(1), 0, &Err(error)), Outcome::Failed(_)));
        }
        assert_eq!(of(200).next_attempt(), NextAttempt::Never);
        assert_eq!(of(410).next_attempt(), NextAttempt::Never);
    }

    #[test]
    fn attempts_go_on_for_about_a_day() {
        for id in (0..200).map(Uuid::from_u128) {
            let outcomes: Vec<_> = (0..12).map(|attempts| Outcome::new(id, attempts, &answer(500))).collect();
            assert_eq!(outcomes[10..], [Outcome::GaveUp; 2]);
            assert_eq!(outcomes[10].next_attempt(), NextAttempt::Never);
            let mut all = Duration::ZERO;
            for (outcome, usual) in outcomes.iter().zip(PAUSES) {
                let Outcome::Failed(pause) = *outcome else { panic!("{outcome:?}") };
                assert!((usual.mul_f64(0.8)..=usual.mul_f64(1.2)).contains(&pause), "{pause:?}");
                assert_eq!(outcome.next_attempt(), NextAttempt::After(pause));
                all += pause;
            }
            assert!((Duration::from_hours(18)..Duration::from_hours(30)).contains(&all), "{all:?}");
        }
    }

    #[test]
    fn deliveries_do_not_come_back_together() {
        let mut pauses: Vec<_> = (0..100).map(|id| pause(Uuid::from_u128(id), 5).unwrap()).collect();
        pauses.sort();
        pauses.dedup();
        assert!(pauses.len() > 90, "{}", pauses.len());
        assert!(pauses[0] < Duration::from_mins(54) && pauses[pauses.len() - 1] > Duration::from_mins(66));
    }

    #[test]
    fn a_busy_receiver_may_ask_for_a_longer_pause() {
        for status in [429, 503] {
            assert_eq!(first_pause(&busy(status, 3600)), Duration::from_hours(1));
            assert_eq!(first_pause(&busy(status, u64::MAX)), LONGEST_RETRY_AFTER);
            assert_eq!(first_pause(&busy(status, 1)), first_pause(&answer(status)));
        }
        assert_eq!(first_pause(&busy(500, 3600)), first_pause(&answer(500)));
    }

    #[test]
    fn errors_say_what_happened() {
        assert_eq!(error(&answer(204)), None);
        assert_eq!(error(&answer(500)).unwrap(), "the response was 500");
        assert_eq!(error(&answer(302)).unwrap(), "the response was 302, and redirects are not followed");
        assert_eq!(error(&Err(SendError::Connect)).unwrap(), "could not connect");
    }
}
