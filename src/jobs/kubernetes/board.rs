//! What this process knows of the Kubernetes Jobs that somebody has to look after, and for which claim each one runs.
//!
//! A Kubernetes Job has the name of its job, not of an attempt. So whoever sees one end has to know which attempt that
//! was: the board keeps the token that the job had while its Kubernetes Job was seen unfinished. An end is acted on
//! with that token only, and the queue refuses an old one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use uuid::Uuid;

use crate::executor::kubernetes::{Outcome, Phase};
use crate::jobs::job::State;

/// How long a token has to be known that came in place of another one, before an end is acted on with it: the end may
/// be that of the attempt before, while the next Kubernetes Job is not there yet.
const TRUSTED_AFTER: Duration = Duration::from_secs(10);

/// How long a Kubernetes Job may go on after its pod has recorded the end of the job.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// How long a deletion may take before it is asked for again.
const DELETED_WITHIN: Duration = Duration::from_secs(30);

/// The Kubernetes Jobs by their jobs.
#[derive(Debug, Default)]
pub struct Board(Mutex<HashMap<Uuid, Entry>>);

#[derive(Debug)]
struct Entry {
    course: Course,
    /// When this process created it; `None` once it runs.
    created: Option<Instant>,
    claim: Option<KnownClaim>,
    /// Whether a claim was lost since the Kubernetes Job is known.
    has_lost_claim: bool,
    /// Its pod was lost, and the record of the job does not say yet that it waits for another one.
    is_rescheduled: bool,
    /// When somebody noticed that the job has ended, and the Kubernetes Job has not.
    orphaned: Option<Instant>,
    /// When its deletion was asked for.
    deleted: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Course {
    Pending,
    /// When its container began.
    Running(SystemTime),
    /// It has ended in this way; when this process saw it.
    Ended(Outcome, Instant),
}

/// The claim that a Kubernetes Job runs for.
#[derive(Debug, Clone, Copy)]
struct KnownClaim {
    token: u64,
    /// Ends that are seen earlier may be those of another attempt.
    trusted_from: Instant,
}

/// A Kubernetes Job that needs attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attention {
    pub job: Uuid,
    /// The token of its claim, if it is known.
    pub token: Option<u64>,
    /// The record of the job should say that it waits for a pod again.
    pub is_rescheduled: bool,
    /// How it has ended, and how long ago.
    pub ended: Option<(Outcome, Duration)>,
}

impl Board {
    /// Notes that this process has created the Kubernetes Job for the claim with this token, or, if it is not `new`, found
    /// it there.
    pub fn created(&self, job: Uuid, token: u64, new: bool) {
        let mut entries = self.lock();
        // The watcher may have been faster.
        let known = entries.remove(&job).filter(|entry| !entry.has_ended());
        let mut entry = known.unwrap_or_else(|| Entry::new(Course::Pending));
        if new {
            entry.created = (entry.course == Course::Pending).then(Instant::now);
        } else {
            // It may run for an earlier claim.
            entry.has_lost_claim = true;
        }
        entry.learn(token);
        entries.insert(job, entry);
    }

    /// Notes what the watcher has seen. Returns how long the container took to run, if it does now and this process has
    /// created the Kubernetes Job.
    pub fn changed(&self, job: Uuid, phase: Phase) -> Option<Duration> {
        let mut entries = self.lock();
        let outcome = match phase {
            Phase::Pending { .. } => {
                let entry = unfinished(&mut entries, job);
                entry.is_rescheduled |= matches!(entry.course, Course::Running(_));
                entry.course = Course::Pending;
                return None;
            }
            Phase::Running { started } => {
                let entry = unfinished(&mut entries, job);
                // Nobody has seen that the pod before was lost.
                entry.is_rescheduled |= matches!(entry.course, Course::Running(before) if before != started);
                entry.course = Course::Running(started);
                return entry.created.take().map(|created| created.elapsed());
            }
            Phase::Ended(outcome) => outcome,
        };
        // Nobody knows for which claim one has run that was only seen after its end. The lease of that claim ends.
        let entry = entries.get_mut(&job)?;
        if !entry.has_ended() {
            let now = Instant::now();
            entry.course = Course::Ended(outcome, now);
            if entry.claim.is_none_or(|claim| claim.trusted_from > now) {
                entries.remove(&job);
            }
        }
        None
    }

    /// Those that somebody has to look after.
    pub fn attention(&self) -> Vec<Attention> {
        self.lock().iter().map(|(job, entry)| entry.attention(*job)).collect()
    }

    /// Notes the token that the job has now.
    pub fn learned(&self, job: Uuid, token: u64) {
        if let Some(entry) = self.lock().get_mut(&job) {
            entry.learn(token);
        }
    }

    /// Notes that nobody holds the job any more with the token that is known. One that has ended needs no attention then.
    pub fn lost(&self, job: Uuid) {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(&job) else { return };
        if entry.has_ended() {
            entries.remove(&job);
        } else {
            entry.has_lost_claim |= entry.claim.take().is_some();
        }
    }

    /// Notes that the record of the job says that it waits for another pod.
    pub fn marked(&self, job: Uuid) {
        if let Some(entry) = self.lock().get_mut(&job) {
            entry.is_rescheduled = false;
        }
    }

    /// Whether an unfinished one should be deleted, whose job nobody runs. `state`: that of the job, if there is one.
    pub fn is_orphan(&self, job: Uuid, state: Option<State>) -> bool {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(&job) else { return false };
        let patience = match state {
            // The next pod waits for somebody who takes the job.
            Some(State::Queued | State::Running) => {
                entry.orphaned = None;
                return false;
            }
            Some(State::Succeeded | State::Failed) => ENDS_WITHIN,
            Some(State::Cancelled | State::Expired) | None => Duration::ZERO,
        };
        let orphaned = entry.orphaned.get_or_insert_with(Instant::now);
        let is_asked = entry.deleted.is_some_and(|deleted| deleted.elapsed() < DELETED_WITHIN);
        orphaned.elapsed() >= patience && !is_asked
    }

    /// Notes that its deletion was asked for.
    pub fn deleted(&self, job: Uuid) {
        if let Some(entry) = self.lock().get_mut(&job) {
            entry.deleted = Some(Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Entry>> {
        // Nothing in here can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the entry of a Kubernetes Job that was seen unfinished: a new one, if it is new or replaces one that has ended.
fn unfinished(entries: &mut HashMap<Uuid, Entry>, job: Uuid) -> &mut Entry {
    let entry = entries.entry(job).or_insert_with(|| Entry::new(Course::Pending));
    if entry.has_ended() {
        *entry = Entry::new(Course::Pending);
    }
    entry
}

impl Entry {
    fn new(course: Course) -> Self {
        Self {
            course,
            created: None,
            claim: None,
            has_lost_claim: false,
            is_rescheduled: false,
            orphaned: None,
            deleted: None,
        }
    }

    const fn has_ended(&self) -> bool {
        matches!(self.course, Course::Ended(..))
    }

    fn learn(&mut self, token: u64) {
        if self.claim.is_some_and(|claim| claim.token == token) {
            return;
        }
        self.has_lost_claim |= self.claim.is_some();
        let patience = if self.has_lost_claim { TRUSTED_AFTER } else { Duration::ZERO };
        self.claim = Some(KnownClaim { token, trusted_from: Instant::now() + patience });
    }

    fn attention(&self, job: Uuid) -> Attention {
        let ended = match &self.course {
            Course::Ended(outcome, since) => Some((outcome.clone(), since.elapsed())),
            Course::Pending | Course::Running(_) => None,
        };
        let token = self.claim.map(|claim| claim.token);
        Attention { job, token, is_rescheduled: self.is_rescheduled, ended }
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
