//! How long a client that is slow is waited for, whether it sends a body or takes an answer.
//!
//! A client has a credit of time. Waiting for it spends the credit, and every byte that passes earns some of it back,
//! up to a bound: whoever is fast for a while may then be slow for a minute or two, and not for hours.

use std::time::Duration;

/// Bytes a second that have to pass on average. Slower than any line that models are sent over.
pub const SLOWEST: u64 = 1 << 10;

/// The largest credit, in longest pauses.
const LARGEST_CREDIT: u32 = 4;

const NANOSECONDS_PER_BYTE: u64 = 1_000_000_000 / SLOWEST;

/// The credit of one client in one direction.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    longest_pause: Duration,
    credit: Duration,
}

impl Patience {
    pub fn new(longest_pause: Duration) -> Self {
        Self { longest_pause, credit: longest_pause }
    }

    /// How long the next bytes may take to pass.
    pub fn left(&self) -> Duration {
        self.longest_pause.min(self.credit)
    }

    /// Whether a client that used all that was [left](Self::left) was too slow, and did not merely stop.
    pub fn is_of_speed(&self) -> bool {
        self.credit < self.longest_pause
    }

    /// The client was waited for.
    pub fn spend(&mut self, waited: Duration) {
        self.credit = self.credit.saturating_sub(waited);
    }

    /// Bytes have passed.
    pub fn earn(&mut self, bytes: usize) {
        let earned = Duration::from_nanos((bytes as u64).saturating_mul(NANOSECONDS_PER_BYTE));
        let largest = self.longest_pause.saturating_mul(LARGEST_CREDIT);
        self.credit = self.credit.saturating_add(earned).min(largest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);

    /// How long a client is served that lets so many bytes pass after each pause; `None`: for a day at least.
    fn served(patience: &mut Patience, pause: Duration, bytes: usize) -> Option<Duration> {
        let mut passed = Duration::ZERO;
        while passed < Duration::from_hours(24) {
            if patience.left() < pause {
                return Some(passed + patience.left());
            }
            patience.spend(pause);
            patience.earn(bytes);
            passed += pause;
        }
        None
    }

    #[test]
    fn a_client_of_the_slowest_speed_is_served_to_its_end() {
        for pause in [1, 10, 29] {
            let bytes = pause * SLOWEST as usize;
            let pause = Duration::from_secs(pause as u64);
            assert_eq!(served(&mut Patience::new(PAUSE), pause, bytes), None);
            assert!(served(&mut Patience::new(PAUSE), pause, bytes / 2).is_some());
        }
    }

    #[test]
    fn a_pause_is_bounded_whatever_came_before() {
        let mut patience = Patience::new(PAUSE);
        patience.earn(100 << 20);
        assert_eq!(patience.left(), PAUSE);
        assert!(!patience.is_of_speed());
    }

    #[test]
    fn a_fast_start_earns_minutes_and_not_hours() {
        let mut patience = Patience::new(PAUSE);
        patience.earn(100 << 20);
        let served = served(&mut patience, Duration::from_secs(1), 1).unwrap();
        assert!((4 * PAUSE..5 * PAUSE).contains(&served), "{served:?}");
        assert!(patience.is_of_speed());
    }

    #[test]
    fn every_byte_earns_its_time() {
        let mut one_by_one = Patience::new(PAUSE);
        one_by_one.spend(PAUSE);
        let mut at_once = one_by_one;
        (0..SLOWEST).for_each(|_| one_by_one.earn(1));
        at_once.earn(SLOWEST as usize);
        assert_eq!(one_by_one.credit, at_once.credit);
        assert!(at_once.credit.abs_diff(Duration::from_secs(1)) < Duration::from_millis(1));
    }
}
