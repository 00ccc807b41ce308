//! Follows all Kubernetes Jobs: keeps the leases of their jobs, and records the ends that their pods could not record.
//!
//! ```text
//!  changes ─▶ board ─▶ each second: renew with the token that is known
//!                        ├ held, not ended        nothing
//!                        ├ held, ended a while    end the attempt
//!                        ├ to be cancelled        end it, delete the Kubernetes Job
//!                        └ lost                   learn the current token, or delete a Kubernetes Job without a job
//! ```

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use super::board::Attention;
use super::handle::KubernetesJobs;
use super::progress::SCHEDULING;
use super::reaction::{ending, goes_on, patience};
use crate::executor::kubernetes::{Change, Outcome, Phase};
use crate::jobs::lease::Ending;
use crate::jobs::queue::{End, Hold, QueueError};

/// How often the jobs of all Kubernetes Jobs are looked after.
const EVERY: Duration = Duration::from_secs(1);

/// What is to be done about a Kubernetes Job, or about its job.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    /// The client wants the job with this token cancelled.
    Cancel(u64),
    /// The attempt with this token ended without a record.
    End(u64, Outcome),
    /// The Kubernetes Job has no job.
    Delete,
}

impl KubernetesJobs {
    /// Follows for ever. Must run once only in a process.
    pub async fn follow(self) {
        let (_watch, mut changes) = self.kubernetes.watch();
        // Slow work, such as with an API server that is away, must not keep others from their leases.
        let (mut actions, mut busy) = (JoinSet::new(), HashSet::new());
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(change) = changes.recv() => self.note(change),
                Some(done) = actions.join_next() => {
                    if let Ok(job) = done {
                        busy.remove(&job);
                    }
                }
                _ = ticks.tick() => {
                    for (job, action) in self.check_all().await {
                        if busy.insert(job) {
                            let own = self.clone();
                            actions.spawn(async move {
                                own.act(job, action).await;
                                job
                            });
                        }
                    }
                }
            }
        }
    }

    fn note(&self, Change { job, phase }: Change) {
        match &phase {
            Phase::Pending { why: Some(why), .. } => tracing::info!(%job, why, "a Kubernetes Job waits"),
            phase => tracing::debug!(%job, ?phase, "a Kubernetes Job has changed"),
        }
        if let Some(took) = self.board.changed(job, phase) {
            self.metrics.started(took);
        }
    }

    /// Renews all leases; returns what else is to be done.
    async fn check_all(&self) -> Vec<(Uuid, Action)> {
        let checks = self.board.attention().into_iter().map(|attention| self.check(attention));
        join_all(checks).await.into_iter().flatten().collect()
    }

    async fn check(&self, attention: Attention) -> Option<(Uuid, Action)> {
        let job = attention.job;
        match self.next_action(attention).await {
            Ok(action) => Some((job, action?)),
            Err(error) => {
                tracing::warn!(%job, %error, "the lease of a job with a Kubernetes Job could not be renewed");
                None
            }
        }
    }

    async fn next_action(&self, attention: Attention) -> Result<Option<Action>, QueueError> {
        let Attention { job, token, is_rescheduled, ended } = attention;
        let Some(token) = token else { return self.find_claim(job).await };
        match self.queue().renew(job, token, is_rescheduled.then_some(SCHEDULING)).await? {
            Hold::Held if is_rescheduled => self.board.marked(job),
            Hold::Held => {}
            Hold::Cancelled => return Ok(Some(Action::Cancel(token))),
            Hold::Lost => {
                self.board.lost(job);
                return self.find_claim(job).await;
            }
        }
        let due = ended.filter(|(outcome, since)| *since >= patience(outcome));
        Ok(due.map(|(outcome, _)| Action::End(token, outcome)))
    }

    /// Learns for which claim a Kubernetes Job runs now.
    async fn find_claim(&self, job: Uuid) -> Result<Option<Action>, QueueError> {
        if let Some(claim) = self.queue().claim(job).await? {
            self.board.learned(job, claim.token);
            return Ok(None);
        }
        let state = self.queue().job(job).await?.map(|job| job.state);
        Ok(self.board.is_orphan(job, state).then_some(Action::Delete))
    }

    async fn act(&self, job: Uuid, action: Action) {
        let done = match action {
            Action::Cancel(token) => self.cancel(job, token).await,
            Action::End(token, outcome) => self.end(job, token, &outcome).await,
            Action::Delete => {
                tracing::info!(%job, "a Kubernetes Job has no job any more");
                self.delete(job).await;
                Ok(())
            }
        };
        if let Err(error) = done {
            tracing::warn!(%job, %error, "the queue did not take the end of a job with a Kubernetes Job");
        }
    }

    /// The record is first: the client waits for it, and the API server may be away.
    async fn cancel(&self, job: Uuid, token: u64) -> Result<(), QueueError> {
        self.queue().finish(job, token, End::Cancelled).await?;
        self.board.lost(job);
        tracing::info!(%job, "a job was cancelled that has a Kubernetes Job");
        self.delete(job).await;
        Ok(())
    }

    /// Ends the attempt whose Kubernetes Job has ended.
    async fn end(&self, job: Uuid, token: u64, outcome: &Outcome) -> Result<(), QueueError> {
        let Some(record) = self.queue().job(job).await? else {
            self.board.lost(job);
            return Ok(());
        };
        if goes_on(outcome)
            && let Err(error) = self.kubernetes.delete(job).await
            && !error.is_lasting()
        {
            // A pod that begins late must not meet the next attempt.
            tracing::warn!(%job, %error, "a Kubernetes Job that cannot begin was not deleted yet");
            return Ok(());
        }
        let ending = ending(outcome, &self.policy, &record);
        let accepted = match &ending {
            Ending::End(end) => self.queue().finish(job, token, end.clone()).await?,
            Ending::GiveBack(reason) => self.queue().give_back(job, token, *reason).await?,
        };
        if accepted {
            self.metrics.failed(outcome.word());
            tracing::warn!(%job, ?outcome, then = ending.word(), "a Kubernetes Job ended, and its job did not");
        }
        self.board.lost(job);
        Ok(())
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
