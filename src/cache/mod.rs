//! Finds the results of earlier conversions, and tells which conversions are running.
//!
//! ```text
//!  identity ──▶ index ──▶ entry: the result's hash ──▶ store (`crate::storage`) ──▶ the result, checked
//!     │                          or why there is none
//!     └──────▶ lease: held by the process that converts now, while others wait for the entry
//! ```
//!
//! `local` keeps the index in this process, and its entries in the store for the next process. `redis` keeps index and
//! leases for all processes, and uses `local` while Redis is unreachable. `singleflight` joins equal conversions of one
//! process. All of it may be lost at any time; the cost is a conversion.

mod entry;
pub mod key;
mod local;
mod redis;
mod singleflight;

use futures_util::future::BoxFuture;

pub use entry::{Entry, ResultInfo, hex};
pub use key::{HashedFile, IdentityInputs, identity};
pub use local::LocalIndex;
pub use redis::RedisIndex;
pub use singleflight::{Flight, Flights};

use crate::storage::Hash;

/// The outcomes of conversions, by their identities.
pub trait Index: Send + Sync {
    fn get(&self, identity: Hash) -> BoxFuture<'_, Option<Entry>>;

    /// Replaces the entry.
    fn put(&self, identity: Hash, entry: Entry) -> BoxFuture<'_, ()>;

    fn remove(&self, identity: Hash) -> BoxFuture<'_, ()>;

    /// Claims the conversion for this process; `None` if another process has claimed it. A process that cannot know
    /// gets the lease.
    fn claim(&self, identity: Hash) -> BoxFuture<'_, Option<Lease>>;

    /// Bytes of the indexed results; `None` if other processes share the index.
    fn bytes(&self) -> Option<u64>;

    /// Maintains the index; never returns.
    fn maintain(&self) -> BoxFuture<'_, ()>;
}

/// The right to run a conversion, until it is dropped.
#[derive(Debug)]
pub struct Lease {
    _held: Option<redis::Held>,
}

impl Lease {
    /// A lease that no other process knows.
    fn alone() -> Self {
        Self { _held: None }
    }
}
