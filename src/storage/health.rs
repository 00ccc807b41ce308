//! Whether the store works, as its latest operations showed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::error::{Error, Trouble};

/// A store that cannot be reached is asked again only after this; until then, everything else fails at once instead of
/// waiting in vain like the first one.
pub const PAUSE: Duration = Duration::from_secs(5);

/// What an operation shows to work: a disk that is full can still be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Reading,
    Writing,
}

#[derive(Debug, Default)]
pub struct Health {
    failures: Mutex<[Option<Failure>; 2]>,
    /// It began to fail.
    pub fell: Notify,
}

#[derive(Debug, Clone)]
struct Failure {
    error: Error,
    /// When the store was last asked in spite of it.
    asked: Instant,
}

impl Health {
    /// Whether the store may be asked now.
    ///
    /// # Errors
    /// The latest one, while it is too early to try again.
    pub fn admit(&self, now: Instant) -> Result<(), Error> {
        let mut failures = self.lock();
        for failure in failures.iter_mut().flatten() {
            if failure.error.trouble != Trouble::Unreachable {
                continue;
            }
            if now.saturating_duration_since(failure.asked) < PAUSE {
                return Err(failure.error.clone());
            }
            // Whoever asks now asks for all.
            failure.asked = now;
        }
        Ok(())
    }

    pub fn succeeded(&self, side: Side) {
        let mut failures = self.lock();
        if failures.iter().all(Option::is_none) {
            return;
        }
        for (at, failure) in failures.iter_mut().enumerate() {
            let reached =
                failure.as_ref().is_some_and(|failure| failure.error.trouble == Trouble::Unreachable);
            if at == side as usize || reached {
                *failure = None;
            }
        }
        if failures.iter().all(Option::is_none) {
            tracing::info!("the store works again");
        }
    }

    pub fn failed(&self, side: Side, error: &Error, now: Instant) {
        // Not the store's fault.
        if error.trouble == Trouble::Ours {
            return;
        }
        let mut failures = self.lock();
        let fell = failures.iter().all(Option::is_none);
        failures[side as usize] = Some(Failure { error: error.clone(), asked: now });
        if fell {
            tracing::error!(%error, "the store fails; conversions are answered without it");
            self.fell.notify_one();
        } else {
            tracing::debug!(%error, "the store still fails");
        }
    }

    /// What is wrong; `None`: nothing.
    pub fn trouble(&self) -> Option<Error> {
        // Of two troubles the one that is worse: what cannot be read is of no use.
        self.lock().iter().flatten().next().map(|failure| failure.error.clone())
    }

    fn lock(&self) -> MutexGuard<'_, [Option<Failure>; 2]> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_can_still_be_read() {
        let health = Health::default();
        let now = Instant::now();
        health.failed(Side::Writing, &Error::io("/srv", &std::io::ErrorKind::StorageFull.into()), now);
        assert!(health.admit(now).is_ok());
        health.succeeded(Side::Reading);
        assert_eq!(health.trouble().unwrap().trouble, Trouble::Full);
        health.succeeded(Side::Writing);
        assert_eq!(health.trouble(), None);
    }

    #[test]
    fn one_at_a_time_asks_a_store_that_is_away() {
        let health = Health::default();
        let now = Instant::now();
        let away = Error::late("s3://b", 10);
        health.failed(Side::Writing, &away, now);
        assert_eq!(health.admit(now), Err(away.clone()));
        let later = now + PAUSE;
        assert!(health.admit(later).is_ok());
        assert_eq!(health.admit(later), Err(away));
        // It is there, whatever was asked.
        health.succeeded(Side::Reading);
        assert!(health.admit(later).is_ok() && health.trouble().is_none());
    }

    #[test]
    fn what_is_wrong_here_is_not_wrong_there() {
        let health = Health::default();
        let error = Error::ours("read the result", &std::io::ErrorKind::NotFound.into());
        health.failed(Side::Writing, &error, Instant::now());
        assert_eq!(health.trouble(), None);
    }
}
