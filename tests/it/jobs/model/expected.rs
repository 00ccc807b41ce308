//! The model of one job, and the rules by which it changes.

use meshgate::domain::ErrorCode;
use meshgate::jobs::queue::MAX_ATTEMPTS;
use meshgate::jobs::{DeliveryAttempt, GiveBack, Job, Priority, State};
use uuid::Uuid;

use crate::jobs::result_of;

/// The expected record of a job.
pub struct Expected {
    pub client: usize,
    pub state: State,
    pub attempts: u32,
    pub memory_factor: u32,
    /// The token of the latest attempt.
    pub token: u64,
    pub to_cancel: bool,
    /// Whether a job that is queued was given back.
    pub given_back: bool,
    pub error: Option<ErrorCode>,
    pub webhook: Option<Webhook>,
    pub removed: bool,
    /// The record as it was last seen.
    pub seen: Job,
}

/// The webhook of a job that has ended.
pub struct Webhook {
    pub place: Place,
    pub attempts: Vec<DeliveryAttempt>,
    /// The ID and the latest token, once it was taken.
    pub taken: Option<(Uuid, u64)>,
    /// From then on, the trait does not say how many attempts a delivery counts.
    pub redelivered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Due,
    Taken,
    /// To be repeated later.
    Later,
    /// Delivered or given up.
    Over,
}

impl Expected {
    /// A job that was just submitted.
    pub fn new(client: usize, seen: Job) -> Expected {
        Expected {
            client,
            state: State::Queued,
            attempts: 0,
            memory_factor: 1,
            token: 0,
            to_cancel: false,
            given_back: false,
            error: None,
            webhook: None,
            removed: false,
            seen,
        }
    }

    pub fn id(&self) -> Uuid {
        self.seen.id
    }

    pub fn is_in(&self, state: State) -> bool {
        !self.removed && self.state == state
    }

    /// Whether it is queued or running, so that limits count it.
    pub fn is_live(&self) -> bool {
        !self.removed && !self.state.has_ended()
    }

    /// Whether an attempt holds the lease.
    pub fn is_held(&self, token: u64) -> bool {
        self.is_in(State::Running) && self.token == token
    }

    /// The place in the line of its client: of two jobs, the one with the lower rank is first.
    pub fn rank(&self) -> (bool, bool) {
        (self.seen.spec.priority == Priority::Low, !self.given_back)
    }

    /// The state of its webhook; `None` before the end, without a webhook, and without a record.
    pub fn place(&self) -> Option<Place> {
        self.webhook.as_ref().filter(|_| !self.removed).map(|webhook| webhook.place)
    }

    pub fn end(&mut self, state: State, error: Option<ErrorCode>) {
        assert!(!self.state.has_ended(), "it has ended before");
        (self.state, self.error) = (state, error);
        if self.seen.spec.webhook_url.is_some() {
            let (place, attempts) = (Place::Due, Vec::new());
            self.webhook = Some(Webhook { place, attempts, taken: None, redelivered: false });
        }
    }

    pub fn take(&mut self, token: u64) {
        (self.state, self.token, self.given_back) = (State::Running, token, false);
        self.attempts += 1;
    }

    pub fn cancel(&mut self) {
        match self.state {
            State::Queued => self.end(State::Cancelled, None),
            State::Running => self.to_cancel = true,
            _ => {}
        }
    }

    pub fn give_back(&mut self, reason: GiveBack) {
        let is_second = reason == GiveBack::OutOfMemory && self.memory_factor > 1;
        let is_last = reason.counts() && self.attempts >= MAX_ATTEMPTS;
        if self.to_cancel {
            self.end(State::Cancelled, None);
        } else if is_second || is_last {
            let is_memory = reason == GiveBack::OutOfMemory;
            let code = if is_memory { ErrorCode::MemoryLimit } else { ErrorCode::EngineCrashed };
            self.end(State::Failed, Some(code));
        } else {
            (self.state, self.given_back) = (State::Queued, true);
            self.attempts -= u32::from(!reason.counts());
            self.memory_factor *= if reason == GiveBack::OutOfMemory { 2 } else { 1 };
        }
    }

    /// Checks that the record is as expected.
    pub fn check(&self, job: &Job) {
        assert_eq!(job.state, self.state, "{job:?}");
        assert_eq!(job.error.as_ref().map(|error| error.code), self.error, "{job:?}");
        let result = (self.state == State::Succeeded).then(|| result_of(self.token));
        assert_eq!(job.result, result, "{job:?}");
        let deliveries = self.webhook.as_ref().map(|webhook| webhook.attempts.as_slice());
        assert_eq!(job.deliveries, deliveries.unwrap_or_default(), "{job:?}");
        // The trait does not say whether an attempt counts that ended by cancelling the job.
        if self.state != State::Cancelled {
            assert_eq!(job.attempts, self.attempts, "{job:?}");
        }
        if self.is_live() {
            assert_eq!(
                (job.memory_factor, job.cancel_requested),
                (self.memory_factor, self.to_cancel),
                "{job:?}"
            );
        }
    }
}

/// Checks a change of a record.
pub fn check_change(before: &Job, now: &Job) {
    assert!(now.version >= before.version, "{before:?}\n{now:?}");
    // A request to cancel and an attempt to deliver may leave the version as it is.
    let deliveries = now.deliveries.clone();
    let same = Job { cancel_requested: now.cancel_requested, deliveries, ..before.clone() };
    assert!(*now == same || now.version > before.version, "{before:?}\n{now:?}");
    let unchanged = (before.id, &before.spec, before.created_at);
    assert_eq!((now.id, &now.spec, now.created_at), unchanged);
}
