//! Conversions that need not be carried out again, and those that somebody carries out already.
//!
//! ```text
//!  identity ──▶ index ──▶ entry: the result's hash ──▶ store (`crate::storage`) ──▶ the result, checked
//!     │                          or why there is none
//!     └──────▶ lease: who carries it out now, so that others wait for the index to have it
//! ```
//!
//! `embedded` keeps the index in this process, and what it knows in the store, for the next one; `redis` keeps index and
//! leases for all processes, and has the first at hand for when Redis is away. `flights` is for equal conversions of one
//! process. All of it may be lost at any time, and costs a conversion then.

mod entry;
pub mod key;
mod local;
mod redis;
mod singleflight;

use futures_util::future::BoxFuture;

pub use entry::{Entry, Result};
pub use key::{Part, Parts, identity};
pub use local::Embedded;
pub use redis::OnRedis;
pub use singleflight::Flights;

use crate::storage::Hash;

/// What is known of conversions, by their identities.
pub trait Index: Send + Sync {
    fn get(&self, identity: Hash) -> BoxFuture<'_, Option<Entry>>;

    /// In place of what was there.
    fn put(&self, identity: Hash, entry: Entry) -> BoxFuture<'_, ()>;

    fn remove(&self, identity: Hash) -> BoxFuture<'_, ()>;

    /// Asks to be the only one that carries this out; `None`: another process does. Whoever has no way to know may.
    fn claim(&self, identity: Hash) -> BoxFuture<'_, Option<Lease>>;

    /// Bytes of the results that it knows, where it knows all of them.
    fn bytes(&self) -> Option<u64>;

    /// Looks after it, for ever.
    fn tend(&self) -> BoxFuture<'_, ()>;
}

/// The right to carry a conversion out, until it is dropped.
#[derive(Debug)]
pub struct Lease {
    _held: Option<redis::Held>,
}

impl Lease {
    /// That nobody else knows of.
    fn alone() -> Self {
        Self { _held: None }
    }
}
