//! Leases: which process runs a conversion.

use std::sync::LazyLock;
use std::time::Duration;

use ::redis::Script;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::redis::{Error, Redis};

/// Milliseconds after which a lease ends unless its holder renews it.
pub const LEASE_LIFE: u64 = 1500;

/// How often a holder renews its lease.
const RENEW_EVERY: Duration = Duration::from_millis(400);

/// Scripts that renew and release a lease, for its holder only.
const RENEW: &str = "
    if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
    return 0";
const RELEASE: &str = "
    if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
    return 0";

/// The right to run a conversion, until it is dropped.
#[derive(Debug)]
pub struct Lease {
    _held: Option<Held>,
}

impl Lease {
    /// A lease that no other process knows.
    pub fn alone() -> Self {
        Self { _held: None }
    }

    /// A lease that Redis holds under the key `lease` with the `token` of this process.
    pub fn held(redis: Redis, lease: String, token: String) -> Self {
        Self { _held: Some(Held::new(redis, lease, token)) }
    }
}

/// A lease that is renewed until it is dropped, and then released.
#[derive(Debug)]
struct Held {
    redis: Redis,
    lease: String,
    token: String,
    _renewing: AbortOnDropHandle<()>,
}

impl Held {
    fn new(redis: Redis, lease: String, token: String) -> Self {
        let renewing = renew(redis.clone(), lease.clone(), token.clone());
        Self { redis, lease, token, _renewing: AbortOnDropHandle::new(tokio::spawn(renewing)) }
    }
}

async fn renew(redis: Redis, lease: String, token: String) {
    static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(RENEW));
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let mut script = SCRIPT.key(&lease);
        script.arg(&token).arg(LEASE_LIFE);
        // If the lease is lost, another process does the same work once more, which is harmless.
        let _: Result<u64, Error> = redis.run_script(script).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(RELEASE));
        // Without a runtime, the lease ends by itself.
        let Ok(runtime) = Handle::try_current() else { return };
        let mut script = SCRIPT.key(&self.lease);
        script.arg(&self.token);
        let redis = self.redis.clone();
        runtime.spawn(async move {
            let _: Result<u64, Error> = redis.run_script(script).await;
        });
    }
}
