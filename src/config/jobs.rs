//! The settings of durable jobs.

use std::time::Duration;

use super::redis::{Redis, has_password};
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
            redis: redis(reader),
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

/// Reads the address and the password of the Redis that keeps jobs; `None` if no Redis is set.
fn redis(reader: &mut Reader) -> Option<Redis> {
    let url = reader.given(&settings::JOBS_REDIS_URL);
    let password = reader.given(&settings::JOBS_REDIS_PASSWORD);
    // Without an address it would have no effect, and processes would silently not share their jobs.
    if password.is_some() && !reader.is_set(&settings::JOBS_REDIS_URL) {
        reader.mistake("JOBS_REDIS_PASSWORD is set, but JOBS_REDIS_URL is not");
    }
    let url = url?;
    if password.is_some() && has_password(&url) {
        reader.mistake("JOBS_REDIS_URL has a password and JOBS_REDIS_PASSWORD is set; use only one");
    }
    Some(Redis { url, password })
}
