//! The health of a store: the errors of its latest operations.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::error::{Error, Trouble};

/// An unreachable store is asked again after this; until then, all operations fail at once instead of waiting in vain.
pub const PAUSE: Duration = Duration::from_secs(5);

/// The kind of access that an operation needs: a full disk can still be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessMode {
    Read,
    Write,
}

#[derive(Debug, Default)]
pub struct Health {
    /// The latest failure of each kind of access.
    failures: Mutex<[Option<Failure>; 2]>,
    /// The store worked until now.
    pub began_failing: Notify,
}

#[derive(Debug, Clone)]
struct Failure {
    error: Error,
    /// When an operation was last admitted.
    asked: Instant,
}

impl Health {
    /// Admits an operation that is about to ask the store. During the pause, returns the error that showed it
    /// unreachable.
    pub fn admit(&self, now: Instant) -> Result<(), Error> {
        for failure in self.lock().iter_mut().flatten().filter(|failure| failure.is_unreachable()) {
            if now.saturating_duration_since(failure.asked) < PAUSE {
                return Err(failure.error.clone());
            }
            // All others wait for the result of this one.
            failure.asked = now;
        }
        Ok(())
    }

    pub fn succeeded(&self, access: AccessMode) {
        let mut failures = self.lock();
        if failures.iter().all(Option::is_none) {
            return;
        }
        failures[access as usize] = None;
        for failure in failures.iter_mut() {
            failure.take_if(|failure| failure.is_unreachable());
        }
        if failures.iter().all(Option::is_none) {
            tracing::info!("the store works again");
        }
    }

    pub fn failed(&self, access: AccessMode, error: &Error, now: Instant) {
        if error.trouble == Trouble::NotOfStore {
            return;
        }
        let mut failures = self.lock();
        let worked = failures.iter().all(Option::is_none);
        failures[access as usize] = Some(Failure { error: error.clone(), asked: now });
        if worked {
            tracing::error!(%error, "the store fails; jobs wait for it, and requests go on without it");
            self.began_failing.notify_one();
        } else {
            tracing::debug!(%error, "the store still fails");
        }
    }

    /// The error of reading, or else of writing, which is less serious; `None` while both work.
    pub fn trouble(&self) -> Option<Error> {
        self.lock().iter().flatten().next().map(|failure| failure.error.clone())
    }

    fn lock(&self) -> MutexGuard<'_, [Option<Failure>; 2]> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    fn is_unreachable(&self) -> bool {
        self.error.trouble == Trouble::Unreachable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_can_still_be_read() {
        let health = Health::default();
        let now = Instant::now();
        health.failed(AccessMode::Write, &Error::io("/srv", &std::io::ErrorKind::StorageFull.into()), now);
        assert!(health.admit(now).is_ok());
        health.succeeded(AccessMode::Read);
        assert_eq!(health.trouble().unwrap().trouble, Trouble::Full);
        health.succeeded(AccessMode::Write);
        assert_eq!(health.trouble(), None);
    }

    #[test]
    fn an_unreachable_store_gets_one_request_at_a_time() {
        let health = Health::default();
        let now = Instant::now();
        let away = Error::late("s3://b", 10);
        health.failed(AccessMode::Write, &away, now);
        assert_eq!(health.admit(now), Err(away.clone()));
        let later = now + PAUSE;
        assert!(health.admit(later).is_ok());
        assert_eq!(health.admit(later), Err(away));
        // It is there, whatever was asked.
        health.succeeded(AccessMode::Read);
        assert!(health.admit(later).is_ok() && health.trouble().is_none());
    }

    #[test]
    fn a_local_error_does_not_mark_the_store_failing() {
        let health = Health::default();
        let error = Error::not_of_store("read the result", &std::io::ErrorKind::NotFound.into());
        health.failed(AccessMode::Write, &error, Instant::now());
        assert_eq!(health.trouble(), None);
    }
}
