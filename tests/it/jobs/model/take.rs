//! The order in which jobs are taken.

use meshgate::jobs::State;
use uuid::Uuid;

use super::CLIENTS;
use super::expected::{Expected, check_change};
use super::run::Model;
use crate::jobs::AnyQueue;

/// When a client was served.
#[derive(Clone, Copy, Default)]
pub struct Served {
    /// The number of the latest take of one of its jobs; `None` before the first.
    latest: Option<usize>,
    /// Whether it has had no job since, so that the queue may have forgotten it.
    may_be_forgotten: bool,
}

impl Model {
    /// Takes the next job, if there is one.
    pub async fn take(&mut self, queue: &AnyQueue) {
        let first = self.first_in_line(queue).await;
        let Some(claim) = queue.take("a worker").await.unwrap() else {
            assert!(first.is_empty(), "nothing is taken, but {first:?} are queued");
            return;
        };
        assert!(first.contains(&claim.job.id), "{claim:?} is not one of {first:?}");
        let number = self.number(claim.job.id);
        self.check_is_fair(self.jobs[number].client);
        let job = &mut self.jobs[number];
        assert!(claim.token > job.token, "{claim:?}");
        check_change(&job.seen, &claim.job);
        job.take(claim.token);
        job.seen = claim.job;
        self.claims.push((number, claim.token));
        self.served[job.client] = Served { latest: Some(self.claims.len()), may_be_forgotten: false };
    }

    /// Notes which clients have no job that is queued or running.
    pub fn note_absent_clients(&mut self) {
        for (client, served) in self.served.iter_mut().enumerate() {
            let is_there = self.jobs.iter().any(|job| job.client == client && job.is_live());
            served.may_be_forgotten |= !is_there;
        }
    }

    /// Checks the positions of all queued jobs; returns the first of each client.
    async fn first_in_line(&self, queue: &AnyQueue) -> Vec<Uuid> {
        let mut first = Vec::new();
        for client in 0..CLIENTS {
            let queued = self.jobs.iter().filter(|job| job.client == client && job.is_in(State::Queued));
            let mut line: Vec<&Expected> = queued.collect();
            // The sort is stable: jobs of equal rank stay in the order in which they were submitted.
            line.sort_by_key(|job| job.rank());
            let mut positions = Vec::new();
            for (place, job) in line.iter().enumerate() {
                let position = queue.position(job.id()).await.unwrap().expect("it is queued") as usize;
                // The trait does not say in which order several jobs go that were given back.
                let is_exact = position == place + 1;
                assert!(is_exact || job.given_back && line[position - 1].rank() == job.rank(), "{position}");
                positions.push(position);
                if position == 1 {
                    first.push(job.id());
                }
            }
            positions.sort_unstable();
            assert!(positions.iter().copied().eq(1..=line.len()), "{positions:?}");
        }
        first
    }

    /// Checks that no other client should have been served instead of this one.
    fn check_is_fair(&self, client: usize) {
        let running = |client: usize| {
            let jobs = self.jobs.iter().filter(|job| job.client == client && job.is_in(State::Running));
            jobs.count()
        };
        let has_queued = |client: &usize| {
            let mut jobs = self.jobs.iter();
            jobs.any(|job| job.client == *client && job.is_in(State::Queued))
        };
        let served = self.served[client];
        let earliest = if served.may_be_forgotten { None } else { served.latest };
        for other in (0..CLIENTS).filter(|other| *other != client).filter(has_queued) {
            assert!(running(client) <= running(other), "client {client} has more running jobs than {other}");
            if running(client) == running(other) {
                let latest = self.served[other].latest;
                assert!(earliest <= latest, "client {client} was served after {other}");
            }
        }
    }
}
