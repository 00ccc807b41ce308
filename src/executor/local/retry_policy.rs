//! Which attempts of a conversion may follow a failed one.

use crate::executor::stats::AttemptFailure;

/// Starts of a child that may fail because their zygote goes down.
const MAX_LOST_STARTS: u32 = 3;

/// What has failed so far. A conversion gets one attempt after a crash or a hang, in a cold zygote, and one after its
/// zygote went down with the child, which is no fault of the model.
#[derive(Debug, Default)]
pub struct RetryPolicy {
    /// The next attempt needs a cold zygote, and is the last one after a failure of the model.
    pub cold: bool,
    zygote_lost: bool,
    lost_starts: u32,
    /// The latest failure after which an attempt was allowed.
    pub retried_after: Option<AttemptFailure>,
}

impl RetryPolicy {
    /// Whether another attempt may follow a crash or a hang of the child.
    pub fn allows_after_failure(&mut self, failure: AttemptFailure) -> bool {
        if self.cold {
            return false;
        }
        self.cold = true;
        self.retried_after = Some(failure);
        true
    }

    /// Whether another attempt may follow the end of the zygote while the child ran.
    pub fn allows_after_loss(&mut self) -> bool {
        if self.zygote_lost {
            return false;
        }
        self.zygote_lost = true;
        self.retried_after = Some(AttemptFailure::EngineLost);
        true
    }

    /// Whether the child may be started again after its zygote went down before the start. That is no attempt.
    pub fn allows_another_start(&mut self) -> bool {
        self.lost_starts += 1;
        self.lost_starts <= MAX_LOST_STARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_attempt_follows_a_crash() {
        let mut policy = RetryPolicy::default();
        assert!(policy.allows_after_failure(AttemptFailure::Crash));
        assert!(policy.cold && policy.retried_after == Some(AttemptFailure::Crash));
        assert!(!policy.allows_after_failure(AttemptFailure::Hang));
        assert_eq!(policy.retried_after, Some(AttemptFailure::Crash));
    }

    #[test]
    fn a_crash_may_follow_a_lost_zygote() {
        let mut policy = RetryPolicy::default();
        assert!(policy.allows_after_loss() && !policy.cold);
        assert!(!policy.allows_after_loss());
        assert!(policy.allows_after_failure(AttemptFailure::Hang) && policy.cold);
        assert_eq!(policy.retried_after, Some(AttemptFailure::Hang));
    }

    #[test]
    fn a_lost_zygote_may_follow_a_crash() {
        let mut policy = RetryPolicy::default();
        assert!(policy.allows_after_failure(AttemptFailure::Crash));
        assert!(policy.allows_after_loss() && policy.cold);
        assert!(!policy.allows_after_loss() && !policy.allows_after_failure(AttemptFailure::Crash));
    }

    #[test]
    fn three_lost_starts_are_no_attempt() {
        let mut policy = RetryPolicy::default();
        assert_eq!([(); 5].map(|()| policy.allows_another_start()), [true, true, true, false, false]);
        assert!(policy.allows_after_loss() && policy.allows_after_failure(AttemptFailure::Crash));
    }
}
