//! The hold of an attempt on its job: renews the lease, and tells the queue how the attempt ended.
//!
//! An attempt never gives up its job because the queue does not answer: nobody else may take the job before a sweep of
//! the queue ends the lease.

use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::hints::hinted;
use super::job::{GiveBack, Progress};
use super::queue::{Claim, End, Hint, Hold, Queue};

/// How often a lease is renewed, and the least time between two renewals that report progress.
const RENEW_EVERY: Duration = Duration::from_secs(1);
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// First and longest pause before the queue is told again how an attempt ended, if it did not answer.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The least time between two warnings about a queue that does not answer.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// How an attempt ended.
#[derive(Debug)]
pub enum Ending {
    End(End),
    GiveBack(GiveBack),
}

/// Why the lease is not renewed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupted {
    Cancelled,
    Lost,
}

/// What the queue said to the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The attempt counts.
    Accepted,
    /// The lease was lost; nothing refers to the result of the attempt.
    Refused,
    /// The lease is lost, perhaps by an earlier call whose answer got lost; the job may refer to the result.
    Unclear,
}

/// The lease of one attempt.
pub struct Lease<'a> {
    queue: &'a dyn Queue,
    id: Uuid,
    token: u64,
    hints: broadcast::Receiver<Hint>,
}

/// Limits a warning to one in [`WARN_EVERY`].
#[derive(Debug, Default)]
struct Warning {
    latest: Option<Instant>,
}

impl Ending {
    /// The value of a metric's label.
    pub fn word(&self) -> &'static str {
        match self {
            Ending::End(End::Succeeded(_)) => "succeeded",
            Ending::End(End::Failed(_)) => "failed",
            Ending::End(End::Cancelled) => "cancelled",
            Ending::GiveBack(reason) => reason.word(),
        }
    }
}

impl<'a> Lease<'a> {
    /// Listens for hints from now on.
    pub fn new(queue: &'a dyn Queue, claim: &Claim) -> Self {
        Self { queue, id: claim.job.id, token: claim.token, hints: queue.hints() }
    }

    /// Renews the lease and records progress, until the lease is lost or the job is to be cancelled.
    pub async fn keep(&mut self, mut progress: watch::Receiver<Option<Progress>>) -> Interrupted {
        let (id, mut warning) = (self.id, Warning::default());
        let mut recorded: Option<Progress> = None;
        loop {
            tokio::select! {
                () = sleep(RENEW_EVERY) => {}
                () = hinted(&mut self.hints, |hint| hint == Hint::Changed(id)) => {}
                Ok(()) = progress.changed() => sleep(REPORT_EVERY).await,
            }
            let latest = *progress.borrow_and_update();
            match self.queue.renew(id, self.token, latest.filter(|_| latest != recorded)).await {
                Ok(Hold::Held) => recorded = latest,
                Ok(Hold::Cancelled) => return Interrupted::Cancelled,
                Ok(Hold::Lost) => return Interrupted::Lost,
                Err(error) => {
                    if warning.is_due() {
                        tracing::warn!(%error, "a lease could not be renewed; the attempt goes on");
                    }
                }
            }
        }
    }

    /// Tells the queue how the attempt ended, until it answers. Hurries once the process is `stopping`.
    pub async fn end(&self, ending: &Ending, stopping: &CancellationToken) -> Told {
        let (mut pause, mut is_first, mut warning) = (FIRST_PAUSE, true, Warning::default());
        loop {
            let told = match ending {
                Ending::End(end) => self.queue.finish(self.id, self.token, end.clone()).await,
                Ending::GiveBack(reason) => self.queue.give_back(self.id, self.token, *reason).await,
            };
            match told {
                Ok(true) => return Told::Accepted,
                Ok(false) if is_first => return Told::Refused,
                Ok(false) => return Told::Unclear,
                Err(error) => {
                    if warning.is_due() {
                        tracing::warn!(%error, "the queue did not take the end of an attempt; telling it again");
                    }
                }
            }
            is_first = false;
            // Until it knows the end, nobody shall run the job again.
            let _ = self.queue.renew(self.id, self.token, None).await;
            let hurries = stopping.is_cancelled();
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                () = stopping.cancelled(), if !hurries => pause = FIRST_PAUSE,
            }
        }
    }
}

impl Warning {
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.latest.is_none_or(|latest| now.duration_since(latest) >= WARN_EVERY);
        if is_due {
            self.latest = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests;
