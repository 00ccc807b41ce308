//! Takes steps, and compares each answer with the model.

use meshgate::jobs::{
    Claim, Delivery, End, GiveBack, Hold, Idempotency, JobSpec, Key, NewJob, Refusal, Removed, State,
    Submission, Swept, TakeOrder,
};
use proptest::sample::Index;
use uuid::Uuid;

use super::expected::{Expected, Place, check_change};
use super::keys::{Answer, Keys};
use super::step::{How, KeyUse, Pick, Step};
use super::take::Served;
use super::{CLIENTS, Handles, MOMENT, TIGHT};
use crate::jobs::samples::{PROGRESS, client, failure, file, hook, result_of, spec_of};
use crate::jobs::side::AnyQueue;
use crate::jobs::steps::outlive;

/// The expected content of a queue.
#[derive(Default)]
pub struct Model {
    /// All jobs there ever were, in the order in which they were submitted.
    pub jobs: Vec<Expected>,
    /// All claims there ever were: the number of the job, and the token.
    pub claims: Vec<(usize, u64)>,
    /// All deliveries that were taken, with the number of the job.
    pub deliveries: Vec<(usize, Delivery)>,
    pub served: [Served; CLIENTS],
    /// How often a job joined the line of its client behind the others.
    entries: usize,
    keys: Keys,
}

fn name(client: usize) -> String {
    format!("client {client}")
}

fn key_of(of: usize, key: KeyUse) -> Key {
    Key { client: client(&name(of)), path: "/v1/jobs", key: key.name.to_string() }
}

impl Model {
    /// Takes a step; returns the numbers of the jobs whose record it may have changed unseen.
    pub async fn step(&mut self, handles: &Handles, step: Step) -> Vec<usize> {
        let queue = &handles.queue;
        let changed = match step {
            Step::Submit { client, priority, bytes, webhook, key } => {
                let input = vec![file("a", bytes), file("b", 0)];
                let spec =
                    JobSpec { priority, input, webhook_url: webhook.then(hook), ..spec_of(&name(client)) };
                self.submit(queue, client, spec, key).await;
                None
            }
            Step::Reserve { client, key } => {
                let token = Uuid::from_u128(key.token);
                let answer = queue.reserve(&key_of(client, key), token).await.unwrap();
                self.keys.reserved(client, key, answer);
                None
            }
            Step::Release { client, key } => {
                queue.release(&key_of(client, key), Uuid::from_u128(key.token)).await.unwrap();
                self.keys.released(client, key);
                None
            }
            Step::Take { order, brief } => {
                self.take(if brief { &handles.brief } else { queue }, order, brief).await;
                None
            }
            Step::Claim { job } => {
                self.check_claim(queue, job).await;
                None
            }
            Step::Renew { claim, progress } => self.renew(queue, claim, progress).await,
            Step::Finish { claim, how } => {
                let Some((number, token)) = self.claim(claim) else { return Vec::new() };
                self.finish(queue, number, token, how).await
            }
            Step::GiveBack { claim, reason, brief } => {
                return self.give_back(handles, claim, reason, brief).await;
            }
            Step::Cancel { job } => {
                let Some(number) = self.any_job(job) else { return Vec::new() };
                self.cancel(queue, number).await;
                None
            }
            Step::Remove { job } => {
                self.remove(queue, job).await;
                None
            }
            Step::Sweep => return self.sweep(queue).await,
            Step::ExtendLeases => {
                self.extend_leases(queue).await;
                None
            }
            Step::List { client, state, size } => {
                self.list(queue, client, state, size).await;
                None
            }
            Step::TakeDelivery => {
                self.take_delivery(queue).await;
                None
            }
            Step::RecordDeliveryAttempt { delivery, next } => {
                self.record_delivery_attempt(queue, delivery, next).await
            }
            Step::PostponeDelivery { delivery, pause } => {
                self.postpone_delivery(queue, delivery, pause).await;
                None
            }
            Step::Redeliver { job } => self.redeliver(queue, job).await,
            Step::Reopen => {
                self.keys.reopened();
                None
            }
        };
        changed.into_iter().collect()
    }

    /// Ends all jobs that have not ended.
    pub async fn end_all(&mut self, queue: &AnyQueue) {
        loop {
            self.take(queue, TakeOrder::RequestsFirst, false).await;
            self.check(queue, &[]).await;
            let Some(number) = self.jobs.iter().position(|job| job.is_in(State::Running)) else { break };
            let token = self.jobs[number].token;
            self.finish(queue, number, token, How::Succeeds).await;
            self.check(queue, &[number]).await;
        }
        // All that are left are paused, and would stay so for longer than the test takes.
        for number in 0..self.jobs.len() {
            if self.jobs[number].is_live() {
                assert_eq!(self.jobs[number].place, Place::Paused);
                self.cancel(queue, number).await;
                self.check(queue, &[]).await;
            }
        }
        assert!(!self.jobs.iter().any(Expected::is_live));
    }

    pub fn number(&self, id: Uuid) -> usize {
        self.jobs.iter().position(|job| job.id() == id).expect("nobody has submitted this job")
    }

    /// Any job there ever was.
    pub fn any_job(&self, index: Index) -> Option<usize> {
        (!self.jobs.is_empty()).then(|| index.index(self.jobs.len()))
    }

    fn claim(&self, pick: Pick) -> Option<(usize, u64)> {
        let is_held = |(number, token): &(usize, u64)| self.jobs[*number].is_held(*token);
        let held: Vec<(usize, u64)> = self.claims.iter().copied().filter(is_held).collect();
        let claims = if pick.held && !held.is_empty() { &held } else { &self.claims };
        (!claims.is_empty()).then(|| *pick.index.get(claims))
    }

    /// The answers that a submission without a key may have: any limit that is reached, or else a new job.
    fn answers_without_key(&self, client: usize, bytes: u64) -> Vec<Answer> {
        let (mut jobs, mut client_jobs, mut all_bytes, mut client_bytes) = (0, 0, bytes, bytes);
        for job in self.jobs.iter().filter(|job| job.is_live()) {
            let is_of_client = u64::from(job.client == client);
            jobs += 1;
            client_jobs += is_of_client;
            all_bytes += job.seen.spec.bytes();
            client_bytes += is_of_client * job.seen.spec.bytes();
        }
        let limits = [
            (jobs >= TIGHT.jobs, Refusal::Jobs),
            (client_jobs >= TIGHT.client_jobs, Refusal::ClientJobs),
            (all_bytes > TIGHT.bytes, Refusal::Bytes),
            (client_bytes > TIGHT.client_bytes, Refusal::ClientBytes),
        ];
        let reached = limits.into_iter().filter(|(is_reached, _)| *is_reached);
        let refusals: Vec<Answer> = reached.map(|(_, refusal)| Answer::Refused(refusal)).collect();
        if refusals.is_empty() { vec![Answer::New] } else { refusals }
    }

    async fn submit(&mut self, queue: &AnyQueue, client: usize, spec: JobSpec, key: Option<KeyUse>) {
        let idempotency = key.map(|key| Idempotency {
            key: key_of(client, key),
            token: Uuid::from_u128(key.token),
            fingerprint: blake3::hash(&[key.content]),
        });
        let mut allowed = self.answers_without_key(client, spec.bytes());
        if let Some(key) = key {
            allowed = self.keys.answers(client, key, allowed, |number| self.jobs[number].removed);
        }
        let number = self.jobs.len();
        let new = NewJob { id: Uuid::now_v7(), spec, idempotency };
        let answer = match queue.submit(new.clone()).await.unwrap() {
            Submission::New(job) => {
                assert_eq!((job.id, &job.spec), (new.id, &new.spec));
                let entry = self.enter();
                self.jobs.push(Expected::new(client, entry, job));
                Answer::New
            }
            Submission::Replayed(job) => {
                let number = self.number(job.id);
                assert_eq!(job, self.jobs[number].seen);
                Answer::Replayed(number)
            }
            Submission::Refused(refusal) => Answer::Refused(refusal),
        };
        assert!(allowed.contains(&answer), "{answer:?} is none of {allowed:?}");
        if let Some(key) = key {
            self.keys.submitted(client, key, answer, number);
        }
    }

    async fn check_claim(&self, queue: &AnyQueue, index: Index) {
        let Some(number) = self.any_job(index) else { return };
        let job = &self.jobs[number];
        let running = job.is_in(State::Running).then(|| Claim { job: job.seen.clone(), token: job.token });
        assert_eq!(queue.claim(job.id()).await.unwrap(), running);
    }

    async fn renew(&mut self, queue: &AnyQueue, claim: Pick, with_progress: bool) -> Option<usize> {
        let (number, token) = self.claim(claim)?;
        let job = &mut self.jobs[number];
        let progress = with_progress.then_some(PROGRESS);
        let expected = match (job.is_held(token), job.to_cancel) {
            (false, _) => Hold::Lost,
            (true, true) => Hold::Cancelled,
            (true, false) => Hold::Held,
        };
        assert_eq!(queue.renew(job.id(), token, progress).await.unwrap(), expected);
        job.lease_has_ended &= expected == Hold::Lost;
        (expected != Hold::Lost && with_progress).then_some(number)
    }

    async fn finish(&mut self, queue: &AnyQueue, number: usize, token: u64, how: How) -> Option<usize> {
        let job = &mut self.jobs[number];
        let end = match how {
            How::Succeeds => End::Succeeded(result_of(token)),
            How::Fails => End::Failed(failure()),
            How::IsCancelled => End::Cancelled,
        };
        let is_held = job.is_held(token);
        let is_repeated = !job.removed && job.finished == Some((token, how));
        assert_eq!(queue.finish(job.id(), token, end).await.unwrap(), is_held || is_repeated);
        if !is_held {
            return None;
        }
        job.finish(how);
        Some(number)
    }

    /// `brief`: a pause ends with this step.
    async fn give_back(
        &mut self,
        handles: &Handles,
        claim: Pick,
        reason: GiveBack,
        brief: bool,
    ) -> Vec<usize> {
        let Some((number, token)) = self.claim(claim) else { return Vec::new() };
        let job = &mut self.jobs[number];
        let is_held = job.is_held(token);
        let queue = if brief { &handles.brief } else { &handles.queue };
        assert_eq!(queue.give_back(job.id(), token, reason).await.unwrap(), is_held);
        if !is_held {
            return Vec::new();
        }
        job.give_back(reason);
        let mut changed = vec![number];
        if brief && job.is_in(State::Queued) && job.place == Place::Paused {
            outlive(MOMENT).await;
            // A sweep at the latest finds that the pause has ended.
            changed.extend(self.sweep(&handles.queue).await);
            let entry = self.enter();
            self.jobs[number].place = Place::Entry(entry);
        }
        changed
    }

    /// Sweeps: only leases have ended.
    async fn sweep(&mut self, queue: &AnyQueue) -> Vec<usize> {
        let (mut expected, mut changed) = (Swept::default(), Vec::new());
        for (number, job) in self.jobs.iter_mut().enumerate().filter(|(_, job)| job.is_lost_by_sweep()) {
            job.give_back(GiveBack::WorkerLost);
            let done = match job.state {
                State::Queued => &mut expected.requeued,
                State::Cancelled => &mut expected.cancelled,
                _ => &mut expected.dead,
            };
            done.push(job.id());
            changed.push(number);
        }
        let mut swept = queue.sweep().await.unwrap();
        for swept in [&mut expected, &mut swept] {
            for ids in [&mut swept.requeued, &mut swept.dead, &mut swept.cancelled] {
                ids.sort_unstable();
            }
        }
        assert_eq!(swept, expected);
        changed
    }

    async fn extend_leases(&mut self, queue: &AnyQueue) {
        let mut extended = 0;
        for job in self.jobs.iter_mut().filter(|job| job.is_lost_by_sweep()) {
            job.lease_has_ended = false;
            extended += 1;
        }
        assert_eq!(queue.extend_leases().await.unwrap(), extended);
    }

    /// The number of a new entry in a line.
    fn enter(&mut self) -> usize {
        self.entries += 1;
        self.entries
    }

    async fn cancel(&mut self, queue: &AnyQueue, number: usize) {
        let job = &mut self.jobs[number];
        let answer = queue.cancel(job.id()).await.unwrap();
        assert_eq!(answer.is_some(), !job.removed);
        let Some(answer) = answer else { return };
        if job.state.has_ended() {
            assert_eq!(answer, job.seen);
        }
        check_change(&job.seen, &answer);
        job.cancel();
        job.seen = answer;
    }

    async fn remove(&mut self, queue: &AnyQueue, index: Index) {
        let Some(number) = self.any_job(index) else { return };
        let job = &mut self.jobs[number];
        let tokens = self.claims.iter().filter(|(of, _)| *of == number).map(|(_, token)| *token).collect();
        let removed = Removed { id: job.id(), files: job.seen.spec.input.len(), tokens };
        let expected = (!job.removed).then_some(removed);
        assert_eq!(queue.remove(job.id()).await.unwrap(), expected);
        job.removed = true;
    }

    async fn list(&self, queue: &AnyQueue, of: usize, state: Option<State>, size: usize) {
        let (mut listed, mut before) = (Vec::new(), None);
        loop {
            let page = queue.list(&client(&name(of)), state, before, size).await.unwrap();
            assert!(page.jobs.len() <= size, "{page:?}");
            assert!(page.next.is_none() || page.next == page.jobs.last().map(|job| job.id), "{page:?}");
            listed.extend(page.jobs);
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        let is_listed = |job: &&Expected| {
            job.client == of && !job.removed && state.is_none_or(|state| job.state == state)
        };
        let expected = self.jobs.iter().rev().filter(is_listed).map(|job| &job.seen);
        assert!(listed.iter().eq(expected), "{listed:?}");
    }
}
