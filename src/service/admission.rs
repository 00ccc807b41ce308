//! Who may wait for the engine: so many at work, so many waiting, and nobody else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::{ConversionError, ErrorCode};

/// How much the latest conversion counts for the expected duration of the next.
const WEIGHT: f64 = 0.2;

/// Bounds the conversions that work or wait; those that wait are served oldest first (by the engine's slots).
#[derive(Debug)]
pub struct Admission {
    places: Arc<Semaphore>,
    workers: usize,
    capacity: usize,
    /// What a conversion takes lately, waiting excluded.
    usual: Arc<Mutex<Option<Duration>>>,
}

/// The right to wait and work, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    usual: Arc<Mutex<Option<Duration>>>,
}

impl Admission {
    /// `workers` at work, and at most `waiting` behind them.
    pub fn new(workers: usize, waiting: usize) -> Self {
        let workers = workers.max(1);
        let capacity = workers.saturating_add(waiting).min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(capacity)), workers, capacity, usual: Arc::default() }
    }

    /// For a caller that bounds itself.
    pub fn unbounded(workers: usize) -> Self {
        Self::new(workers, usize::MAX)
    }

    /// # Errors
    /// `queue_full`.
    pub fn enter(&self) -> Result<Place, ConversionError> {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => Ok(Place { _permit: permit, usual: Arc::clone(&self.usual) }),
            Err(_) => Err(self.refusal()),
        }
    }

    /// Whether nobody would be let in at this moment.
    pub fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// How many may be at work.
    pub fn workers(&self) -> usize {
        self.workers
    }

    pub fn refusal(&self) -> ConversionError {
        let waiting = self.capacity.saturating_sub(self.workers);
        let detail = format!("all {} workers are busy and {waiting} conversions wait already", self.workers);
        ConversionError::new(ErrorCode::QueueFull, detail)
    }

    /// When those who are here now will be done, at the recent rate; a second at least.
    pub fn retry_after(&self) -> Duration {
        let usual = self.usual.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or_default();
        let here = self.capacity - self.places.available_permits();
        let seconds = usual.as_secs_f64() * here as f64 / self.workers as f64;
        Duration::from_secs_f64(seconds.clamp(1.0, 3600.0))
    }
}

impl Place {
    /// The work is done, and took so long, waiting excluded.
    pub fn leave(self, took: Duration) {
        let mut usual = self.usual.lock().unwrap_or_else(PoisonError::into_inner);
        *usual = Some(usual.map_or(took, |usual| usual.mul_f64(1.0 - WEIGHT) + took.mul_f64(WEIGHT)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_and_no_more() {
        let admission = Admission::new(2, 1);
        let mut inside: Vec<Place> = (0..3).map(|_| admission.enter().unwrap()).collect();
        assert!(admission.is_full());
        assert_eq!(admission.enter().unwrap_err().code, ErrorCode::QueueFull);
        inside.pop();
        assert!(!admission.is_full());
        inside.push(admission.enter().unwrap());
        assert!(admission.enter().is_err());
    }

    #[test]
    fn the_wait_follows_what_conversions_take() {
        let admission = Admission::new(2, 4);
        assert_eq!(admission.retry_after(), Duration::from_secs(1));
        *admission.usual.lock().unwrap() = Some(Duration::from_secs(10));
        let _inside: Vec<Place> = (0..6).map(|_| admission.enter().unwrap()).collect();
        assert_eq!(admission.retry_after(), Duration::from_secs(30));
    }

    #[test]
    fn a_place_given_up_says_nothing_of_the_rate() {
        let admission = Admission::unbounded(1);
        drop(admission.enter().unwrap());
        assert_eq!(*admission.usual.lock().unwrap(), None);
        for took in [10, 20] {
            admission.enter().unwrap().leave(Duration::from_secs(took));
        }
        assert_eq!(*admission.usual.lock().unwrap(), Some(Duration::from_secs(12)));
        assert!(!admission.is_full());
    }
}
