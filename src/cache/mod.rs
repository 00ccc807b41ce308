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
mod index;
pub mod key;
mod lease;
mod local;
mod redis;
mod singleflight;

pub use entry::{Entry, ResultInfo, hex};
pub use index::Index;
pub use key::{HashedFile, IdentityInputs, identity};
pub use lease::Lease;
pub use local::LocalIndex;
pub use redis::RedisIndex;
pub use singleflight::{Flight, Flights};
