//! Every way in which a job ends.

use meshgate::jobs::queue::MAX_ATTEMPTS;
use meshgate::jobs::{End, GiveBack, Job, JobSpec, Limits, State};
use uuid::Uuid;

use super::samples::{failure, result_of};
use super::side::{AnyQueue, BRIEF, HASTY, HELD, Side};
use super::steps::{finish, give_back, lose, submit, sweep_until, take_this, take_this_later};

/// Handles on one storage.
pub struct Handles {
    pub queue: AnyQueue,
    /// Its leases and pauses soon end.
    pub brief: AnyQueue,
    /// Its jobs soon expire.
    pub hasty: AnyQueue,
}

impl Handles {
    pub async fn open(side: &impl Side, limits: Limits) -> Handles {
        Handles {
            queue: side.open_with(limits, HELD).await,
            brief: side.open_with(limits, BRIEF).await,
            hasty: side.open_with(Limits { ttl: HASTY, ..limits }, HELD).await,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Success,
    Failure,
    /// The worker ends it as cancelled.
    Cancelled,
    CancelledWhileQueued,
    CancelledWhilePaused,
    CancelledWhileRunning,
    GivenBackAfterCancel,
    LostAfterCancel,
    OutOfMemoryTwice,
    DisksFull,
    WorkersLost,
    /// A sweep may remove the job soon after that.
    Expiry,
}

impl Way {
    pub const ALL: [Way; 12] = [
        Way::Success,
        Way::Failure,
        Way::Cancelled,
        Way::CancelledWhileQueued,
        Way::CancelledWhilePaused,
        Way::CancelledWhileRunning,
        Way::GivenBackAfterCancel,
        Way::LostAfterCancel,
        Way::OutOfMemoryTwice,
        Way::DisksFull,
        Way::WorkersLost,
        Way::Expiry,
    ];

    /// The state that it ends in.
    pub fn state(self) -> State {
        match self {
            Way::Success => State::Succeeded,
            Way::Failure | Way::OutOfMemoryTwice | Way::DisksFull | Way::WorkersLost => State::Failed,
            Way::Cancelled
            | Way::CancelledWhileQueued
            | Way::CancelledWhilePaused
            | Way::CancelledWhileRunning
            | Way::GivenBackAfterCancel
            | Way::LostAfterCancel => State::Cancelled,
            Way::Expiry => State::Expired,
        }
    }

    /// How the attempt with this token finishes the job; `None` if something else ends it.
    pub fn finish(self, token: u64) -> Option<End> {
        match self {
            Way::Success => Some(End::Succeeded(result_of(token))),
            Way::Failure => Some(End::Failed(failure())),
            Way::Cancelled | Way::CancelledWhileRunning => Some(End::Cancelled),
            _ => None,
        }
    }

    /// The handle that accepts jobs which are to end this way.
    pub fn entrance(self, handles: &Handles) -> &AnyQueue {
        if self == Way::Expiry { &handles.hasty } else { &handles.queue }
    }

    /// Submits a job that is to end this way.
    pub async fn submit(self, handles: &Handles, spec: JobSpec) -> Job {
        submit(self.entrance(handles), spec).await
    }

    /// Ends the only queued job.
    pub async fn end(self, handles: &Handles, id: Uuid) {
        let Handles { queue, brief, .. } = handles;
        match self {
            Way::Success | Way::Failure | Way::Cancelled | Way::CancelledWhileRunning => {
                let claim = take_this(queue, id).await;
                if self == Way::CancelledWhileRunning {
                    queue.cancel(id).await.unwrap().unwrap();
                }
                let end = self.finish(claim.token).unwrap();
                assert!(finish(queue, &claim, end).await);
            }
            Way::CancelledWhileQueued => {
                queue.cancel(id).await.unwrap().unwrap();
            }
            Way::CancelledWhilePaused => {
                let claim = take_this(queue, id).await;
                assert!(give_back(queue, &claim, GiveBack::EngineUnavailable).await);
                queue.cancel(id).await.unwrap().unwrap();
            }
            Way::GivenBackAfterCancel => {
                let claim = take_this(queue, id).await;
                queue.cancel(id).await.unwrap().unwrap();
                assert!(give_back(queue, &claim, GiveBack::Stopping).await);
            }
            Way::LostAfterCancel => {
                take_this(brief, id).await;
                queue.cancel(id).await.unwrap().unwrap();
                lose(queue, id).await;
            }
            Way::OutOfMemoryTwice => {
                for _ in 0..2 {
                    let claim = take_this(queue, id).await;
                    assert!(give_back(queue, &claim, GiveBack::OutOfMemory).await);
                }
            }
            Way::DisksFull => {
                for _ in 0..MAX_ATTEMPTS {
                    let claim = take_this_later(queue, id).await;
                    assert!(give_back(brief, &claim, GiveBack::DiskFull).await);
                }
            }
            Way::WorkersLost => {
                for _ in 0..MAX_ATTEMPTS {
                    take_this(brief, id).await;
                    lose(queue, id).await;
                }
            }
            Way::Expiry => {
                sweep_until(queue, "it expires", |swept| swept.expired.contains(&id)).await;
            }
        }
    }
}
