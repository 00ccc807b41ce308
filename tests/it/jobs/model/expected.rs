//! The model of one job, and the rules by which it changes.

use std::cmp::Reverse;

use meshgate::domain::ErrorCode;
use meshgate::jobs::job::MAX_DELIVERY_ATTEMPTS;
use meshgate::jobs::queue::MAX_ATTEMPTS;
use meshgate::jobs::{DeliveryAttempt, GiveBack, Job, Priority, State};
use uuid::Uuid;

use super::TIGHT;
use super::step::How;
use crate::jobs::samples::result_of;

/// The expected record of a job.
pub struct Expected {
    pub client: usize,
    pub state: State,
    pub attempts: u32,
    pub memory_factor: u32,
    /// The token of the latest attempt.
    pub token: u64,
    pub to_cancel: bool,
    /// Of a job that is queued.
    pub place: Place,
    /// Whether the lease of a job that runs has ended. It is held until a sweep all the same.
    pub lease_has_ended: bool,
    /// The token of the attempt that has finished it, and how.
    pub finished: Option<(u64, How)>,
    pub error: Option<ErrorCode>,
    pub webhook: Option<Webhook>,
    pub removed: bool,
    /// The record as it was last seen.
    pub seen: Job,
}

/// Where a queued job is among those of its client and priority. The least is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Before those that were not given back.
    First,
    /// Behind those that joined the line earlier: the number of this entry.
    Entry(usize),
    /// Nowhere, because it is paused.
    Paused,
}

/// The webhook of a job that has ended.
pub struct Webhook {
    pub due: Due,
    /// All attempts to deliver it.
    pub attempts: Vec<DeliveryAttempt>,
    /// The ID and the latest token, once it was taken.
    pub taken: Option<(Uuid, u64)>,
    /// From then on, the trait does not say how many attempts a delivery counts.
    pub redelivered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Now,
    /// It is being sent.
    Taken,
    Later,
    /// It is delivered or given up.
    Never,
}

impl Expected {
    /// A job that was just submitted. `entry`: its number in the line.
    pub fn new(client: usize, entry: usize, seen: Job) -> Expected {
        Expected {
            client,
            state: State::Queued,
            attempts: 0,
            memory_factor: 1,
            token: 0,
            to_cancel: false,
            place: Place::Entry(entry),
            lease_has_ended: false,
            finished: None,
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

    /// Whether it runs, and the next sweep ends its lease.
    pub fn is_lost_by_sweep(&self) -> bool {
        self.is_in(State::Running) && self.lease_has_ended
    }

    /// Whether a worker may take it.
    pub fn is_in_line(&self) -> bool {
        self.is_in(State::Queued) && self.place != Place::Paused
    }

    /// The place in the line of its client: of two jobs, the one with the lower rank is first.
    pub fn rank(&self) -> (Reverse<Priority>, Place) {
        (Reverse(self.seen.spec.priority), self.place)
    }

    /// When its webhook is due; `None` before the end, without a webhook, and without a record.
    pub fn due(&self) -> Option<Due> {
        self.webhook.as_ref().filter(|_| !self.removed).map(|webhook| webhook.due)
    }

    pub fn end(&mut self, state: State, error: Option<ErrorCode>) {
        assert!(!self.state.has_ended(), "it has ended before");
        (self.state, self.error) = (state, error);
        if self.seen.spec.webhook_url.is_some() {
            let (due, attempts) = (Due::Now, Vec::new());
            self.webhook = Some(Webhook { due, attempts, taken: None, redelivered: false });
        }
    }

    /// `is_brief`: whether the lease has ended by the end of this step.
    pub fn take(&mut self, token: u64, is_brief: bool) {
        (self.state, self.token, self.lease_has_ended) = (State::Running, token, is_brief);
        self.attempts += 1;
    }

    /// Ends a running job as its worker reports.
    pub fn finish(&mut self, how: How) {
        match how {
            _ if self.to_cancel => self.end(State::Cancelled, None),
            How::Succeeds => self.end(State::Succeeded, None),
            How::Fails => self.end(State::Failed, Some(ErrorCode::EmptyModel)),
            How::IsCancelled => self.end(State::Cancelled, None),
        }
        self.finished = Some((self.token, how));
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
            let code = match reason {
                GiveBack::OutOfMemory => ErrorCode::MemoryLimit,
                GiveBack::DiskFull => ErrorCode::DiskFull,
                _ => ErrorCode::EngineCrashed,
            };
            self.end(State::Failed, Some(code));
        } else {
            self.state = State::Queued;
            self.place = if reason.is_paused() { Place::Paused } else { Place::First };
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
        let attempts = self.webhook.as_ref().map(|webhook| webhook.attempts.as_slice()).unwrap_or_default();
        let hidden = attempts.len().saturating_sub(MAX_DELIVERY_ATTEMPTS);
        assert_eq!(job.deliveries, attempts[hidden..], "{job:?}");
        // Each attempt to deliver is a change, but no event.
        let last = job.events.last().map(|event| event.id + attempts.len() as u64);
        assert_eq!(last, Some(job.version), "{job:?}");
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
    assert!(now == before || now.version > before.version, "{before:?}\n{now:?}");
    let unchanged = (before.id, &before.spec, before.created_at);
    assert_eq!((now.id, &now.spec, now.created_at), unchanged);
    let Some(last) = now.events.last().filter(|last| last.id > before.version) else {
        assert_eq!(
            (now.state, now.expires_at, &now.events),
            (before.state, before.expires_at, &before.events)
        );
        return;
    };
    // The time of a job begins anew when it is given back, unless its worker lacked something.
    match last.reason {
        _ if now.state.has_ended() => assert_eq!(now.expires_at, last.at.plus(TIGHT.ttl), "{now:?}"),
        None
        | Some(
            GiveBack::EngineUnavailable
            | GiveBack::StoreUnavailable
            | GiveBack::Unschedulable
            | GiveBack::ClusterBusy,
        ) => {
            assert_eq!(now.expires_at, before.expires_at, "{now:?}");
        }
        Some(_) => assert!(now.expires_at >= last.at.plus(TIGHT.ttl), "{now:?}"),
    }
}
