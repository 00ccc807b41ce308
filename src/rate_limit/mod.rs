//! How many requests a client may send: so many in any stretch of time as long as the window, exactly.
//!
//! The times of a client's latest requests are kept, each until a window has passed: a request is let in while there
//! are fewer than it may send. One that is refused is not kept, so that trying again costs nothing. `embedded` keeps
//! them in this process; `redis` keeps them for all processes, and has the first at hand for when Redis is away.

mod memory;
mod redis;

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::domain::Client;

pub use memory::Embedded;
pub use redis::OnRedis;

/// Counts requests.
pub trait Limiter: Send + Sync {
    /// A request came. It counts if it is let in, and until its ticket is given back.
    fn take<'a>(&'a self, who: &'a Client, quota: Quota) -> BoxFuture<'a, Decision>;

    /// A request does not count after all.
    fn give_back(&self, ticket: Ticket) -> BoxFuture<'_, ()>;
}

/// How many requests in how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub requests: NonZeroU32,
    pub window: Duration,
}

/// What becomes of a request.
#[derive(Debug)]
pub struct Decision {
    /// How many more may come now.
    pub remaining: u32,
    /// How long there will be no more than that; where the request is refused, when to try again.
    pub reset: Duration,
    /// What lets the request in; none: it is refused.
    pub ticket: Option<Ticket>,
}

/// One request that counts.
#[derive(Debug)]
pub struct Ticket {
    who: Client,
    entry: Entry,
}

/// Where it is written down.
#[derive(Debug)]
enum Entry {
    /// In this process, by number.
    Here(u64),
    Redis(Uuid),
}
