//! The order in which jobs are taken.

use meshgate::jobs::{State, TakeOrder};
use uuid::Uuid;

use super::expected::{Expected, Place, check_change};
use super::run::Model;
use super::{CLIENTS, MOMENT};
use crate::jobs::side::AnyQueue;
use crate::jobs::steps::{outlive, position};

/// When a client was served.
#[derive(Clone, Copy, Default)]
pub struct Served {
    /// The number of the latest take of one of its jobs; `None` before the first.
    latest: Option<usize>,
    /// Whether it has had no job since, so that the queue may have forgotten it.
    may_be_forgotten: bool,
}

impl Model {
    /// Takes the next job, if there is one. `is_brief`: whether `queue` leases it for a [`MOMENT`], which then passes.
    pub async fn take(&mut self, queue: &AnyQueue, order: TakeOrder, is_brief: bool) {
        let first = self.first_in_line(queue, order).await;
        let Some(claim) = queue.take_in(order, "a worker").await.unwrap() else {
            assert!(first.is_empty(), "nothing is taken, but {first:?} are next");
            return;
        };
        assert!(first.contains(&claim.job.id), "{claim:?} is not one of {first:?}");
        let number = self.number(claim.job.id);
        self.check_is_fair(self.jobs[number].client);
        let job = &mut self.jobs[number];
        assert!(claim.token > job.token, "{claim:?}");
        check_change(&job.seen, &claim.job);
        job.take(claim.token, is_brief);
        job.seen = claim.job;
        self.claims.push((number, claim.token));
        self.served[job.client] = Served { latest: Some(self.claims.len()), may_be_forgotten: false };
        if is_brief {
            outlive(MOMENT).await;
        }
    }

    /// Notes which clients have no job that is queued or running.
    pub fn note_absent_clients(&mut self) {
        for (client, served) in self.served.iter_mut().enumerate() {
            let is_there = self.jobs.iter().any(|job| job.client == client && job.is_live());
            served.may_be_forgotten |= !is_there;
        }
    }

    /// Checks the positions of all queued jobs; returns the first of each client in this order.
    async fn first_in_line(&self, queue: &AnyQueue, order: TakeOrder) -> Vec<Uuid> {
        let mut first = Vec::new();
        for client in 0..CLIENTS {
            let queued = self.jobs.iter().filter(|job| job.client == client && job.is_in(State::Queued));
            let (mut line, paused): (Vec<&Expected>, Vec<&Expected>) =
                queued.partition(|job| job.is_in_line());
            for job in paused {
                assert_eq!(position(queue, job.id()).await, None, "it is paused");
            }
            line.sort_by_key(|job| job.rank());
            let mut positions = Vec::new();
            for (place, job) in line.iter().enumerate() {
                let found = position(queue, job.id()).await.expect("it has no position") as usize;
                let is_exact = found == place + 1;
                // The trait does not say in which order several jobs go that were given back.
                let is_first = job.place == Place::First && line[found - 1].rank() == job.rank();
                assert!(is_exact || is_first, "{found}");
                let is_behind = order == TakeOrder::RequestsLast && job.seen.spec.is_of_request();
                positions.push((found, is_behind, job.id()));
            }
            positions.sort_unstable();
            assert!(positions.iter().map(|(found, ..)| *found).eq(1..=line.len()), "{positions:?}");
            let next = positions.iter().min_by_key(|(found, is_behind, _)| (*is_behind, *found));
            first.extend(next.map(|(.., id)| *id));
        }
        first
    }

    /// Checks that no other client should have been served instead of this one.
    fn check_is_fair(&self, client: usize) {
        let running = |client: usize| {
            let jobs = self.jobs.iter().filter(|job| job.client == client && job.is_in(State::Running));
            jobs.count()
        };
        let is_in_line =
            |client: &usize| self.jobs.iter().any(|job| job.client == *client && job.is_in_line());
        let served = self.served[client];
        let earliest = if served.may_be_forgotten { None } else { served.latest };
        for other in (0..CLIENTS).filter(|other| *other != client).filter(is_in_line) {
            assert!(running(client) <= running(other), "client {client} has more running jobs than {other}");
            if running(client) == running(other) {
                let latest = self.served[other].latest;
                assert!(earliest <= latest, "client {client} was served after {other}");
            }
        }
    }
}
