//! The handle on the queue: its connection, limits and times.

use std::time::Duration;

use ::redis::{Cmd, ScriptInvocation};
use tokio::sync::broadcast;
use tokio_util::task::AbortOnDropHandle;

use super::{requirements, wakeups};
use crate::config;
use crate::jobs::hints;
use crate::jobs::queue::{DELIVERY_LEASE, Hint, LEASE, Limits, QueueError, RETRY_PAUSE};
use crate::redis::{ConnectionPolicy, Error, Redis, Reply};

/// Time limit of an answer. Jobs can wait longer than requests, and a slow disk makes Redis slow.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The queue that processes share.
pub struct RedisQueue {
    pub(super) redis: Redis,
    pub(super) limits: Limits,
    pub(super) times: Times,
    pub(super) hints: broadcast::Sender<Hint>,
    _wakeups: AbortOnDropHandle<()>,
}

/// How long leases and pauses last.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The lease of a job.
    pub lease: Duration,
    /// The lease of a webhook.
    pub delivery_lease: Duration,
    /// The pause of a job that was given back because its worker lacked something.
    pub retry_pause: Duration,
}

impl RedisQueue {
    /// Connects to Redis. One that cannot be reached is retried in the background; until then, operations fail.
    /// `allow_volatile`: accepts a Redis that may lose jobs.
    ///
    /// # Errors
    /// A sentence, when Redis is not fit to keep jobs, or its address is invalid.
    pub async fn open(config: &config::Redis, limits: Limits, allow_volatile: bool) -> Result<Self, String> {
        let times = Times { lease: LEASE, delivery_lease: DELIVERY_LEASE, retry_pause: RETRY_PAUSE };
        Self::open_with(config, limits, allow_volatile, times).await
    }

    /// Connects to a Redis that does not lose jobs, for tests: all leases and pauses last as long as `lease`.
    ///
    /// # Errors
    /// As [`RedisQueue::open`].
    pub async fn open_with_lease(
        config: &config::Redis,
        limits: Limits,
        lease: Duration,
    ) -> Result<Self, String> {
        let times = Times { lease, delivery_lease: lease, retry_pause: lease };
        Self::open_with(config, limits, false, times).await
    }

    async fn open_with(
        config: &config::Redis,
        limits: Limits,
        allow_volatile: bool,
        times: Times,
    ) -> Result<Self, String> {
        let policy = ConnectionPolicy {
            answer_within: ANSWER_WITHIN,
            works_when_full: true,
            check: Some(Box::new(move |info: &str| requirements::check(info, allow_volatile))),
            name: "redis of jobs",
            fallback: "jobs wait",
        };
        let redis = Redis::start_with(config, policy, Box::new(|_, _| {})).await;
        let redis =
            redis.map_err(|error| format!("the redis of JOBS_REDIS_URL cannot keep jobs: {error}"))?;
        let hints = hints::channel();
        let wakeups = tokio::spawn(wakeups::pass_on(redis.clone(), hints.clone()));
        Ok(Self { redis, limits, times, hints, _wakeups: AbortOnDropHandle::new(wakeups) })
    }

    /// Its connection.
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// How long a job waits for its start, and is kept after its end, in milliseconds.
    pub(super) fn ttl(&self) -> u64 {
        millis(self.limits.ttl)
    }

    pub(super) async fn run<T: Reply>(&self, command: Cmd) -> Result<T, QueueError> {
        self.redis.run(command).await.map_err(|error| self.describe(error))
    }

    pub(super) async fn run_script<T: Reply>(
        &self,
        script: ScriptInvocation<'static>,
    ) -> Result<T, QueueError> {
        self.redis.run_script(script).await.map_err(|error| self.describe(error))
    }

    fn describe(&self, error: Error) -> QueueError {
        let address = self.redis.address();
        let why = match error {
            Error::Full(_) => return QueueError::Full(format!("redis at {address}: its memory is full")),
            Error::Unavailable => self.redis.health().error.unwrap_or_else(|| error.to_string()),
            other => other.to_string(),
        };
        QueueError::Failed(format!("redis at {address}: {why}"))
    }
}

pub fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
