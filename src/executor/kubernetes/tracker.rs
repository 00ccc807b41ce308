//! Remembers the Jobs of a release, and tells what has changed since the last look.
//!
//! - Looking twice at the same state tells nothing, so that events of a watch may be lost, doubled or out of order.
//! - Waits are measured by the clock of this process, from the moment at which it first saw their cause.
//! - A Job that was created here counts as unfinished before the watch has seen it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;
use uuid::Uuid;

use super::outcome::{
    Observed, Obstacle, ObstacleKind, Outcome, Phase, is_over, is_pod_of, is_suspended, job_of, observe,
};

/// How long a pod may wait for its image: registries fail for a moment, and secrets may come late.
const IMAGE_PATIENCE: Duration = Duration::from_mins(1);

/// How long a Job must be gone before it counts as deleted, since it may be on its way to be made again.
const DELETED_AFTER: Duration = Duration::from_secs(2);

/// How long a Job has no pod before that is an obstacle and anybody asks why, and how often they ask.
const ASK_AFTER: Duration = Duration::from_secs(5);
const ASK_EVERY: Duration = Duration::from_secs(15);

/// A change of a job's Kubernetes Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub job: Uuid,
    pub phase: Phase,
}

/// The objects of the cluster as the watch knows them.
pub struct View<'a> {
    pub jobs: &'a [Arc<Job>],
    pub pods: &'a [Arc<Pod>],
    /// When the latest complete list of Jobs was asked for.
    pub listed: Instant,
}

/// A Job that has no pod, although it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub job: Uuid,
    /// The name of the Kubernetes Job.
    pub name: String,
}

/// The number of Kubernetes Jobs in each state. Finished ones count until Kubernetes removes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct States {
    pub pending: usize,
    pub running: usize,
    pub succeeded: usize,
    pub failed: usize,
}

#[derive(Debug)]
pub struct Tracker {
    /// How long a Job may wait for room.
    pending_timeout: Duration,
    tracked: BTreeMap<Uuid, Tracked>,
    /// Jobs that this process creates and the watch has not seen yet; when the API server confirmed the creation.
    expected: BTreeMap<Uuid, Option<Instant>>,
}

/// What is known of one Job.
#[derive(Debug)]
struct Tracked {
    /// Tells it from earlier and later Jobs of the same name.
    uid: String,
    /// What was told last.
    phase: Option<Phase>,
    /// The kind of the current obstacle, and since when it is there.
    obstacle: Option<(ObstacleKind, Instant)>,
    /// Since when it is gone, or on its way out.
    missing: Option<Instant>,
    podless: Option<Podless>,
}

/// A Job without a pod.
#[derive(Debug)]
struct Podless {
    since: Instant,
    asked: Option<Instant>,
    /// Why the cluster refuses to make one.
    refusal: Option<String>,
}

impl Tracker {
    pub fn new(pending_timeout: Duration) -> Self {
        Self { pending_timeout, tracked: BTreeMap::new(), expected: BTreeMap::new() }
    }

    /// Notes that this process is about to create a Job.
    pub fn expect(&mut self, job: Uuid) {
        self.expected.insert(job, None);
    }

    /// Notes that the API server has the Job. The watch may have seen it before.
    pub fn confirm(&mut self, job: Uuid, now: Instant) {
        if let Some(confirmed) = self.expected.get_mut(&job) {
            *confirmed = Some(now);
        }
    }

    /// Notes that the Job was not created; if it was after all, the watch will see it.
    pub fn give_up(&mut self, job: Uuid) {
        self.expected.remove(&job);
    }

    /// Returns the jobs whose Kubernetes Job has not ended, as far as this process knows.
    pub fn unfinished(&self) -> Vec<Uuid> {
        let tracked = self.tracked.iter().filter(|(_, tracked)| !tracked.has_ended()).map(|(job, _)| *job);
        let expected =
            self.expected.keys().copied().filter(|job| self.tracked.get(job).is_none_or(Tracked::has_ended));
        tracked.chain(expected).collect()
    }

    pub fn states(&self) -> States {
        let mut states = States::default();
        for tracked in self.tracked.values() {
            match tracked.phase {
                None | Some(Phase::Pending { .. }) => states.pending += 1,
                Some(Phase::Running { .. }) => states.running += 1,
                Some(Phase::Ended(Outcome::Completed)) => states.succeeded += 1,
                Some(Phase::Ended(_)) => states.failed += 1,
            }
        }
        states
    }

    /// Looks at all Jobs; returns what has changed.
    pub fn update(&mut self, view: &View<'_>, now: Instant) -> Vec<Change> {
        let mut pods: HashMap<Uuid, Vec<&Pod>> = HashMap::new();
        for pod in view.pods {
            if let Some(job) = job_of(&pod.metadata) {
                pods.entry(job).or_default().push(pod);
            }
        }
        let mut changes = Vec::new();
        let mut seen = HashSet::new();
        for job in view.jobs {
            let Some(id) = job_of(&job.metadata) else { continue };
            seen.insert(id);
            let own: Vec<&Pod> =
                pods.get(&id).into_iter().flatten().copied().filter(|pod| is_pod_of(pod, job)).collect();
            let uid = job.metadata.uid.clone().unwrap_or_default();
            let known = self.tracked.get(&id).is_some_and(|tracked| tracked.uid == uid);
            if !known {
                self.tracked.insert(id, Tracked::new(uid));
            }
            let Some(tracked) = self.tracked.get_mut(&id) else { continue };
            let phase = tracked.look(job, &own, self.pending_timeout, now);
            changes.extend(phase.map(|phase| Change { job: id, phase }));
            // An earlier Job of the same name is not the expected one.
            if !known || !tracked.has_ended() {
                self.expected.remove(&id);
            }
        }
        changes.extend(self.lost(&seen, view.listed, now));
        changes
    }

    /// Returns the Jobs that are gone although they had not ended; forgets those that are gone.
    fn lost(&mut self, seen: &HashSet<Uuid>, listed: Instant, now: Instant) -> Vec<Change> {
        let mut lost = Vec::new();
        let timeout = self.pending_timeout;
        self.tracked.retain(|job, tracked| {
            if seen.contains(job) {
                return true;
            }
            let phase = tracked.step(Observed::Deleting, timeout, now);
            lost.extend(phase.map(|phase| Change { job: *job, phase }));
            !tracked.has_ended()
        });
        // Confirmed before it was looked for, and not there.
        self.expected.retain(|job, confirmed| {
            let is_gone = confirmed.is_some_and(|confirmed| confirmed < listed) && !seen.contains(job);
            if is_gone {
                lost.push(Change { job: *job, phase: Phase::Ended(Outcome::Deleted) });
            }
            !is_gone
        });
        lost
    }

    /// Returns the Jobs that have had no pod for a while, to ask why; each from time to time.
    pub fn questions(&mut self, view: &View<'_>, now: Instant) -> Vec<Question> {
        let mut questions = Vec::new();
        for job in view.jobs {
            let Some(id) = job_of(&job.metadata) else { continue };
            let podless = self.tracked.get_mut(&id).and_then(|tracked| tracked.podless.as_mut());
            let Some(podless) = podless.filter(|podless| podless.is_due(now)) else { continue };
            podless.asked = Some(now);
            questions.push(Question { job: id, name: job.metadata.name.clone().unwrap_or_default() });
        }
        questions
    }

    /// Notes why the cluster refuses to make a pod.
    pub fn refused(&mut self, job: Uuid, refusal: String) {
        if let Some(podless) = self.tracked.get_mut(&job).and_then(|tracked| tracked.podless.as_mut()) {
            podless.refusal = Some(refusal);
        }
    }
}

impl Tracked {
    fn new(uid: String) -> Self {
        Self { uid, phase: None, obstacle: None, missing: None, podless: None }
    }

    fn has_ended(&self) -> bool {
        self.phase.as_ref().is_some_and(Phase::has_ended)
    }

    /// Looks at the Job and its pods; returns its phase if that is new.
    fn look(&mut self, job: &Job, pods: &[&Pod], pending_timeout: Duration, now: Instant) -> Option<Phase> {
        if pods.is_empty() && !is_over(job) && !is_suspended(job) {
            self.podless.get_or_insert(Podless { since: now, asked: None, refusal: None });
        } else {
            self.podless = None;
        }
        let refusal = self.podless.as_ref().and_then(|podless| podless.refusal.as_deref());
        let observed = match observe(job, pods, refusal) {
            // Pods take a moment to be made.
            Observed::Pending { since, .. }
                if self.podless.as_ref().is_some_and(|podless| podless.is_new(now)) =>
            {
                Observed::Pending { since, obstacle: None }
            }
            observed => observed,
        };
        self.step(observed, pending_timeout, now)
    }

    /// Returns the phase that follows from the observation, if it is new. Nothing follows an end.
    fn step(&mut self, observed: Observed, pending_timeout: Duration, now: Instant) -> Option<Phase> {
        if self.has_ended() {
            return None;
        }
        if observed != Observed::Deleting {
            self.missing = None;
        }
        let phase = match observed {
            Observed::Ended(outcome) => Phase::Ended(outcome),
            Observed::Running { started } => {
                self.obstacle = None;
                Phase::Running { started }
            }
            Observed::Deleting => {
                let missing = *self.missing.get_or_insert(now);
                if now.saturating_duration_since(missing) < DELETED_AFTER {
                    return None;
                }
                Phase::Ended(Outcome::Deleted)
            }
            Observed::Pending { since, obstacle: None } => {
                self.obstacle = None;
                Phase::Pending { since, why: None }
            }
            Observed::Pending { since, obstacle: Some(Obstacle { kind, why }) } => {
                let waited = self.waited_for(kind, now);
                match kind {
                    ObstacleKind::Image if waited >= IMAGE_PATIENCE => Phase::Ended(Outcome::Image(why)),
                    ObstacleKind::Capacity if waited >= pending_timeout => {
                        Phase::Ended(Outcome::NoCapacity(why))
                    }
                    _ => Phase::Pending { since, why: Some(why) },
                }
            }
        };
        if self.phase.as_ref() == Some(&phase) {
            return None;
        }
        self.phase = Some(phase.clone());
        Some(phase)
    }

    /// Returns how long an obstacle of this kind has been there without interruption.
    fn waited_for(&mut self, kind: ObstacleKind, now: Instant) -> Duration {
        let since = match self.obstacle {
            Some((known, since)) if known == kind => since,
            _ => now,
        };
        self.obstacle = Some((kind, since));
        now.saturating_duration_since(since)
    }
}

impl Podless {
    fn is_new(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < ASK_AFTER
    }

    fn is_due(&self, now: Instant) -> bool {
        let is_recent = |asked| now.saturating_duration_since(asked) < ASK_EVERY;
        !self.is_new(now) && !self.asked.is_some_and(is_recent)
    }
}
