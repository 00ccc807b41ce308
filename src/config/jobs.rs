//! The settings of durable jobs.

use std::time::Duration;

use super::redis::Redis;
use super::{Reader, settings};

/// Where jobs are kept, and their limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jobs {
    /// The Redis that keeps them; `None`: this machine does.
    pub redis: Option<Redis>,
    /// Accepts a Redis that may lose jobs.
    pub allow_volatile: bool,
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
            redis: reader.given(&settings::JOBS_REDIS_URL).map(|url| Redis { url, password: None }),
            allow_volatile: reader.read(&settings::ALLOW_VOLATILE_JOBS),
            ttl: reader.read(&settings::JOBS_TTL),
            max_jobs: reader.read(&settings::JOBS_LIMIT),
            max_bytes: reader.read(&settings::JOBS_MAX_SIZE),
            share: reader.read(&settings::JOBS_SHARE),
        }
    }

    /// The number of these workers that jobs may use while requests wait: at least one.
    pub fn share_of(&self, workers: usize) -> usize {
        workers.saturating_mul(self.share).div_ceil(100).max(1)
    }
}
