//! The progress of a job that waits for its pod.

use crate::domain::Stage;
use crate::jobs::job::{Job, Progress};

/// Marks a job that no pod has begun, or whose pod was lost.
pub const SCHEDULING: Progress = Progress { stage: Stage::Scheduling, fraction: None };

/// Whether a pod may begin the job.
pub fn waits_for_pod(job: &Job) -> bool {
    job.progress == Some(SCHEDULING)
}
