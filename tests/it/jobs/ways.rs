//! Every way in which a job ends.

use meshgate::jobs::queue::MAX_ATTEMPTS;
use meshgate::jobs::{End, GiveBack, Job, JobSpec, Limits, State};
use uuid::Uuid;

use super::{
    AnyQueue, BRIEF, HASTY, HELD, Side, failure, finish, give_back, lose, submit, succeed, sweep_until,
    take_this,
};

/// Handles on one storage.
pub struct Handles {
    pub queue: AnyQueue,
    /// Its leases soon end.
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
    CancelledWhileRunning,
    GivenBackAfterCancel,
    LostAfterCancel,
    OutOfMemoryTwice,
    WorkersLost,
    /// A sweep may remove the job soon after that.
    Expiry,
}

impl Way {
    pub const ALL: [Way; 10] = [
        Way::Success,
        Way::Failure,
        Way::Cancelled,
        Way::CancelledWhileQueued,
        Way::CancelledWhileRunning,
        Way::GivenBackAfterCancel,
        Way::LostAfterCancel,
        Way::OutOfMemoryTwice,
        Way::WorkersLost,
        Way::Expiry,
    ];

    /// The state that it ends in.
    pub fn state(self) -> State {
        match self {
            Way::Success => State::Succeeded,
            Way::Failure | Way::OutOfMemoryTwice | Way::WorkersLost => State::Failed,
            Way::Cancelled
            | Way::CancelledWhileQueued
            | Way::CancelledWhileRunning
            | Way::GivenBackAfterCancel
            | Way::LostAfterCancel => State::Cancelled,
            Way::Expiry => State::Expired,
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
            Way::Success => succeed(queue, &take_this(queue, id).await).await,
            Way::Failure => {
                let claim = take_this(queue, id).await;
                assert!(finish(queue, &claim, End::Failed(failure())).await);
            }
            Way::Cancelled => {
                let claim = take_this(queue, id).await;
                assert!(finish(queue, &claim, End::Cancelled).await);
            }
            Way::CancelledWhileQueued => {
                queue.cancel(id).await.unwrap().unwrap();
            }
            Way::CancelledWhileRunning => {
                let claim = take_this(queue, id).await;
                queue.cancel(id).await.unwrap().unwrap();
                assert!(finish(queue, &claim, End::Cancelled).await);
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
