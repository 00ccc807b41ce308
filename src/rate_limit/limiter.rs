//! The interface of limiters.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::domain::Client;

/// Counts requests and refuses those above a quota.
pub trait Limiter: Send + Sync {
    /// Decides on a request. An allowed request counts until its ticket is given back.
    fn take<'a>(&'a self, who: &'a Client, quota: Quota) -> BoxFuture<'a, Decision>;

    /// Removes a request from the count.
    fn give_back(&self, ticket: Ticket) -> BoxFuture<'_, ()>;
}

/// The number of requests allowed in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub requests: NonZeroU32,
    pub window: Duration,
}

/// The decision on a request.
#[derive(Debug)]
pub struct Decision {
    /// The number of further requests allowed now.
    pub remaining: u32,
    /// Time until one more request is allowed; for a refused request, when to retry.
    pub reset: Duration,
    /// The ticket of an allowed request; `None` if it is refused.
    pub ticket: Option<Ticket>,
}

/// A counted request.
#[derive(Debug)]
pub struct Ticket {
    pub(super) who: Client,
    pub(super) entry: Entry,
}

/// The place where a request is stored.
#[derive(Debug)]
pub(super) enum Entry {
    /// In this process, under a number.
    Here(u64),
    /// In Redis, as this member of the client's set.
    Redis(Uuid),
}
