//! Tells from a Kubernetes Job and its pods how far the job is, and how it ended.
//!
//! Times of the cluster are for people only, since its clocks may be off. `tracker` measures how long something takes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use uuid::Uuid;

use super::manifest::{DISRUPTED, KILLED, MODELS_FAULT};
use super::settings::{CONTAINER, JOB_LABEL};

/// How far a Kubernetes Job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// No conversion runs.
    Pending {
        /// When the Job was created, by the clock of the API server.
        since: SystemTime,
        /// What keeps it from running, for operators.
        why: Option<String>,
    },
    Running {
        /// When the container began, by the clock of its node.
        started: SystemTime,
    },
    Ended(Outcome),
}

impl Phase {
    pub const fn has_ended(&self) -> bool {
        matches!(self, Phase::Ended(_))
    }
}

/// How a Kubernetes Job ended. Texts are one sentence for operators, which says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The pod has recorded the end of the job.
    Completed,
    /// The pod has recorded that the model cannot be converted.
    ModelsFault,
    /// The container exceeded its memory, or was killed.
    OutOfMemory,
    /// The Job exceeded its deadline.
    Deadline,
    /// The container cannot be started: its image cannot be pulled, or what it refers to is missing.
    Image(String),
    /// The cluster had no room for the pod in time.
    NoCapacity(String),
    /// Too many pods failed through no fault of the model.
    Failed(String),
    /// Somebody deleted the Job before it ended.
    Deleted,
}

impl Outcome {
    /// The value of a metric's label.
    pub const fn word(&self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::ModelsFault => "models_fault",
            Outcome::OutOfMemory => "out_of_memory",
            Outcome::Deadline => "deadline",
            Outcome::Image(_) => "image",
            Outcome::NoCapacity(_) => "no_capacity",
            Outcome::Failed(_) => "failed",
            Outcome::Deleted => "deleted",
        }
    }
}

/// What keeps a pod from running. It may pass, so that it becomes an outcome only after a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    pub kind: ObstacleKind,
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObstacleKind {
    /// Becomes [`Outcome::Image`].
    Image,
    /// Becomes [`Outcome::NoCapacity`].
    Capacity,
}

/// What a Job and its pods show at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    Pending {
        since: SystemTime,
        obstacle: Option<Obstacle>,
    },
    Running {
        started: SystemTime,
    },
    Ended(Outcome),
    /// The Job is unfinished, and somebody has deleted it.
    Deleting,
}

/// Reasons for which a container waits that somebody has to remove.
const IMAGE_REASONS: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
];
const CONTAINER_REASONS: [&str; 3] =
    ["CreateContainerConfigError", "CreateContainerError", "RunContainerError"];

/// Reasons for which a pod has no node.
const SCHEDULING_REASONS: [&str; 2] = ["Unschedulable", "SchedulingGated"];

/// Longest part of the cluster's own words in a sentence, in characters.
const MAX_QUOTED: usize = 300;

/// Returns the job of a Kubernetes Job or of its pod.
pub fn job_of(metadata: &ObjectMeta) -> Option<Uuid> {
    metadata.labels.as_ref()?.get(JOB_LABEL)?.parse().ok()
}

/// Whether a Job has ended or is being deleted, so that it runs no conversion any more.
pub fn is_over(job: &Job) -> bool {
    job.metadata.deletion_timestamp.is_some() || end(job).is_some()
}

/// Whether `pod` belongs to `job`, and not to an earlier Job of the same name.
pub fn is_pod_of(pod: &Pod, job: &Job) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.any(|owner| Some(&owner.uid) == job.metadata.uid.as_ref())
}

/// Looks at a Job. `pods` are its own; `refusal` is why the cluster refuses to make a pod for it.
pub fn observe(job: &Job, pods: &[&Pod], refusal: Option<&str>) -> Observed {
    if let Some(end) = end(job) {
        return Observed::Ended(outcome(&end, pods));
    }
    if job.metadata.deletion_timestamp.is_some() {
        return Observed::Deleting;
    }
    let since = time(job.metadata.creation_timestamp.as_ref());
    let pending = |obstacle| Observed::Pending { since, obstacle };
    if is_suspended(job) {
        let why = "the Job is suspended: Kueue has not admitted it; look at its queue and the queue's quota";
        return pending(Some(capacity(why.to_owned())));
    }
    let Some(pod) = newest(pods) else {
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let why = match refusal {
            Some(text) => format!("no pod can be made: {}", quoted(text)),
            None => format!("no pod was made; `kubectl describe job {name}` tells why"),
        };
        return pending(Some(capacity(why)));
    };
    if let Some(started) = started(pod) {
        return Observed::Running { started };
    }
    pending(image_obstacle(pod).or_else(|| scheduling_obstacle(pod)))
}

/// Whether somebody, such as Kueue, keeps the Job from making pods.
pub fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true))
}

/// The condition with which a Job ended.
enum End<'a> {
    Complete,
    Failed(&'a JobCondition),
}

/// Returns how the Job ended, or is about to: Kubernetes says so before the last pod is gone.
fn end(job: &Job) -> Option<End<'_>> {
    let conditions = job.status.as_ref()?.conditions.as_deref().unwrap_or_default();
    let find = |kind: &str| conditions.iter().find(|found| found.type_ == kind && found.status == "True");
    if find("Complete").or_else(|| find("SuccessCriteriaMet")).is_some() {
        return Some(End::Complete);
    }
    find("Failed").or_else(|| find("FailureTarget")).map(End::Failed)
}

fn outcome(end: &End<'_>, pods: &[&Pod]) -> Outcome {
    let End::Failed(condition) = end else { return Outcome::Completed };
    let message = condition.message.as_deref().unwrap_or_default();
    match condition.reason.as_deref() {
        Some("DeadlineExceeded") => return Outcome::Deadline,
        // The message has the exit code even if the pod is gone, or was not seen yet.
        Some("PodFailurePolicy") => match exit_code(message) {
            Some(KILLED) => return Outcome::OutOfMemory,
            Some(MODELS_FAULT) => return Outcome::ModelsFault,
            _ => {}
        },
        _ => {}
    }
    let mut failed = pods.iter().filter(|pod| !is_disrupted(pod)).filter_map(|pod| terminated(pod));
    let is_killed = |(code, reason): (i32, Option<&str>)| code == KILLED || reason == Some("OOMKilled");
    if failed.any(is_killed) {
        return Outcome::OutOfMemory;
    }
    Outcome::Failed(match newest(pods).and_then(describe_end) {
        Some(last) => format!("its pods failed; the last one {last}"),
        None => format!("its pods failed: {}", quoted(message)),
    })
}

/// The exit code in a message like `Container meshgate for pod shop/a failed with exit code 137 matching FailJob rule`.
fn exit_code(message: &str) -> Option<i32> {
    let (_, rest) = message.split_once("exit code ")?;
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

fn describe_end(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    if status.reason.as_deref() == Some("Evicted") {
        let message = status.message.as_deref().unwrap_or_default();
        return Some(format!("was evicted: {}", quoted(message)));
    }
    let (code, reason) = terminated(pod)?;
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    Some(format!("ended with exit code {code}{reason}"))
}

/// The exit code of the container, and Kubernetes' word for the reason.
fn terminated(pod: &Pod) -> Option<(i32, Option<&str>)> {
    let state = state(pod)?.terminated.as_ref()?;
    Some((state.exit_code, state.reason.as_deref()))
}

/// When the container began; `None` if it did not.
fn started(pod: &Pod) -> Option<SystemTime> {
    let state = state(pod)?;
    let running = state.running.as_ref().map(|running| running.started_at.as_ref());
    let ended = || state.terminated.as_ref().map(|ended| ended.started_at.as_ref());
    running.or_else(ended).map(time)
}

fn image_obstacle(pod: &Pod) -> Option<Obstacle> {
    let status = pod.status.as_ref()?;
    let first = status.init_container_statuses.iter().flatten();
    let why = first.chain(status.container_statuses.iter().flatten()).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        if IMAGE_REASONS.contains(&reason) {
            // Without the reason, which changes from try to try.
            let image = &container.image;
            return Some(format!(
                "the image {image:?} cannot be pulled: correct its name and tag, and give the pods the pull secret of \
                 its registry"
            ));
        }
        let message = quoted(waiting.message.as_deref().unwrap_or(reason));
        CONTAINER_REASONS.contains(&reason).then(|| {
            format!(
                "the container cannot be started: {message}; the secrets and volumes of the pod template must be in \
                 this namespace"
            )
        })
    })?;
    Some(Obstacle { kind: ObstacleKind::Image, why })
}

fn scheduling_obstacle(pod: &Pod) -> Option<Obstacle> {
    let scheduled = condition(pod, "PodScheduled")?;
    let reason = scheduled.reason.as_deref().unwrap_or_default();
    if scheduled.status != "False" || !SCHEDULING_REASONS.contains(&reason) {
        return None;
    }
    let message = scheduled.message.as_deref().unwrap_or(reason);
    Some(capacity(format!("no node has room for the pod: {}", quoted(message))))
}

fn capacity(why: String) -> Obstacle {
    Obstacle { kind: ObstacleKind::Capacity, why }
}

/// The pod that counts: the youngest one that is not ending, or else the youngest one.
fn newest<'a>(pods: &[&'a Pod]) -> Option<&'a Pod> {
    let is_ending = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"))
    };
    pods.iter().copied().max_by_key(|pod| (!is_ending(pod), pod.metadata.creation_timestamp.clone()))
}

fn is_disrupted(pod: &Pod) -> bool {
    condition(pod, DISRUPTED).is_some_and(|condition| condition.status == "True")
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// The state of the conversion's container.
fn state(pod: &Pod) -> Option<&ContainerState> {
    let containers: &[ContainerStatus] = pod.status.as_ref()?.container_statuses.as_deref()?;
    containers.iter().find(|container| container.name == CONTAINER)?.state.as_ref()
}

/// The cluster's own words, on one line and not too long.
fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        "the cluster did not say why".to_owned()
    } else {
        line.chars().take(MAX_QUOTED).collect()
    }
}

fn time(time: Option<&Time>) -> SystemTime {
    let seconds = time.map_or(0, |time| time.0.as_second());
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}
