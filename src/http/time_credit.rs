//! The time limit for slow clients, both for sending a body and for reading a response.
//!
//! A client has a time credit. Waiting for the client spends it, and every byte earns some of it back, up to a bound:
//! a client that was fast for a while may then be slow for a minute or two, but not for hours.

use std::time::Duration;

/// Minimum average bytes per second; slower than any line that models are sent over.
pub const SLOWEST: u64 = 1 << 10;

/// The largest credit, as a multiple of the longest pause.
const LARGEST_CREDIT: u32 = 4;

const NANOSECONDS_PER_BYTE: u64 = 1_000_000_000 / SLOWEST;

/// The credit of one client in one direction.
#[derive(Debug, Clone, Copy)]
pub struct TimeCredit {
    longest_pause: Duration,
    credit: Duration,
}

impl TimeCredit {
    pub fn new(longest_pause: Duration) -> Self {
        Self { longest_pause, credit: longest_pause }
    }

    /// Time that the next bytes may take.
    pub fn left(&self) -> Duration {
        self.longest_pause.min(self.credit)
    }

    /// Whether a client that used up [`left`](Self::left) was too slow on average, rather than silent for too long.
    pub fn is_too_slow(&self) -> bool {
        self.credit < self.longest_pause
    }

    /// Subtracts the time spent waiting for the client.
    pub fn spend(&mut self, waited: Duration) {
        self.credit = self.credit.saturating_sub(waited);
    }

    /// Adds credit for the bytes that passed.
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

    /// Time until a client that moves `bytes` after each pause is cut off; `None`: more than a day.
    fn served(credit: &mut TimeCredit, pause: Duration, bytes: usize) -> Option<Duration> {
        let mut passed = Duration::ZERO;
        while passed < Duration::from_hours(24) {
            if credit.left() < pause {
                return Some(passed + credit.left());
            }
            credit.spend(pause);
            credit.earn(bytes);
            passed += pause;
        }
        None
    }

    #[test]
    fn a_client_at_the_minimum_speed_is_never_cut() {
        for pause in [1, 10, 29] {
            let bytes = pause * SLOWEST as usize;
            let pause = Duration::from_secs(pause as u64);
            assert_eq!(served(&mut TimeCredit::new(PAUSE), pause, bytes), None);
            assert!(served(&mut TimeCredit::new(PAUSE), pause, bytes / 2).is_some());
        }
    }

    #[test]
    fn a_single_pause_is_bounded_despite_high_credit() {
        let mut credit = TimeCredit::new(PAUSE);
        credit.earn(100 << 20);
        assert_eq!(credit.left(), PAUSE);
        assert!(!credit.is_too_slow());
    }

    #[test]
    fn a_fast_start_earns_only_bounded_credit() {
        let mut credit = TimeCredit::new(PAUSE);
        credit.earn(100 << 20);
        let served = served(&mut credit, Duration::from_secs(1), 1).unwrap();
        assert!((4 * PAUSE..5 * PAUSE).contains(&served), "{served:?}");
        assert!(credit.is_too_slow());
    }

    #[test]
    fn credit_does_not_depend_on_read_sizes() {
        let mut one_by_one = TimeCredit::new(PAUSE);
        one_by_one.spend(PAUSE);
        let mut at_once = one_by_one;
        (0..SLOWEST).for_each(|_| one_by_one.earn(1));
        at_once.earn(SLOWEST as usize);
        assert_eq!(one_by_one.credit, at_once.credit);
        assert!(at_once.credit.abs_diff(Duration::from_secs(1)) < Duration::from_millis(1));
    }
}
