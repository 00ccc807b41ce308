//! The settings of durable jobs.

use std::time::Duration;

use super::{Reader, settings};

/// The limits of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jobs {
    /// How long a job may wait for its start, and how long it is kept after its end.
    pub ttl: Duration,
    /// Unfinished jobs. One client may have half of them.
    pub max_jobs: u64,
    /// Bytes of the models of unfinished jobs. One client may have half of them.
    pub max_bytes: u64,
    /// The percentage of the workers that jobs may use while requests wait.
    pub share: usize,
}

impl Jobs {
    pub fn read(reader: &mut Reader) -> Jobs {
        Jobs {
            ttl: reader.read(&settings::JOBS_TTL),
            max_jobs: reader.read(&settings::JOBS_LIMIT),
            max_bytes: reader.read(&settings::JOBS_MAX_SIZE),
            share: reader.read(&settings::JOBS_SHARE),
        }
    }
}
