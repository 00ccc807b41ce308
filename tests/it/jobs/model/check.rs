//! The comparison after each step.

use std::collections::HashSet;

use meshgate::jobs::{State, Stats, Timestamp};
use uuid::Uuid;

use super::TIGHT;
use super::expected::{Due, Expected, check_change};
use super::run::Model;
use crate::jobs::check::record;
use crate::jobs::side::AnyQueue;

impl Model {
    /// Checks that all records are as expected, and that no others have changed than those of the jobs `changed`.
    pub async fn check(&mut self, queue: &AnyQueue, changed: &[usize]) {
        for (number, job) in self.jobs.iter_mut().enumerate().filter(|(_, job)| !job.removed) {
            let now = record(queue, job.id()).await;
            if changed.contains(&number) {
                check_change(&job.seen, &now);
            } else {
                assert_eq!(now, job.seen);
            }
            job.check(&now);
            job.seen = now;
        }
        self.note_absent_clients();
        self.check_stats(queue).await;
        let ids: Vec<Uuid> = self.jobs.iter().map(Expected::id).collect();
        let unknown: HashSet<Uuid> = queue.unknown(&ids).await.unwrap().into_iter().collect();
        let removed = self.jobs.iter().filter(|job| job.removed);
        assert_eq!(unknown, removed.map(Expected::id).collect::<HashSet<Uuid>>());
    }

    async fn check_stats(&self, queue: &AnyQueue) {
        let stats = queue.stats().await.unwrap();
        let count = |state| self.jobs.iter().filter(|job| job.is_in(state)).count() as u64;
        let is_undelivered = |job: &&Expected| job.due().is_some_and(|due| due != Due::Never);
        let expected = Stats {
            jobs: State::ALL.map(count),
            bytes: self.jobs.iter().filter(|job| job.is_live()).map(|job| job.seen.spec.bytes()).sum(),
            oldest_queued_at: stats.oldest_queued_at,
            deliveries: self.jobs.iter().filter(is_undelivered).count() as u64,
        };
        assert_eq!(stats, expected);
        assert!(stats.jobs[0] + stats.jobs[1] <= TIGHT.jobs && stats.bytes <= TIGHT.bytes, "{stats:?}");

        let queued = || self.jobs.iter().filter(|job| job.is_in(State::Queued));
        let submitted: Vec<Timestamp> = queued().map(|job| job.seen.created_at).collect();
        // The trait does not say since when a job has been queued that was given back.
        if queued().any(|job| job.token > 0) {
            assert!(stats.oldest_queued_at.is_some_and(|at| submitted.contains(&at)), "{stats:?}");
        } else {
            assert_eq!(stats.oldest_queued_at, submitted.into_iter().min());
        }
    }
}
