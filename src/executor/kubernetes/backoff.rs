//! Pauses between tries that grow, and differ from process to process.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// The part by which a pause may be shorter than planned, so that processes do not all retry at the same moment.
const JITTER: f64 = 0.5;

#[derive(Debug, Clone)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, next: shortest }
    }

    /// Returns the next pause. Each one is twice as long as the one before, up to the longest.
    pub fn pause(&mut self) -> Duration {
        let planned = self.next;
        self.next = (planned * 2).min(self.longest);
        planned.mul_f64(1.0 - JITTER * random())
    }

    /// Begins with the shortest pause again.
    pub fn reset(&mut self) {
        self.next = self.shortest;
    }
}

/// A number from 0 to 1: each hasher has a key of its own.
fn random() -> f64 {
    let bits = RandomState::new().hash_one(0_u8);
    f64::from((bits >> 48) as u16) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_again() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 5 * second);
        for planned in [1, 2, 4, 5, 5] {
            let pause = backoff.pause();
            assert!((planned * second / 2..=planned * second).contains(&pause), "{planned}: {pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= second);
    }

    #[test]
    fn processes_do_not_retry_at_the_same_moment() {
        let first = || Backoff::new(Duration::from_secs(1), Duration::from_secs(1)).pause();
        let pauses: std::collections::HashSet<Duration> = (0..20).map(|_| first()).collect();
        assert!(pauses.len() > 1);
    }
}
