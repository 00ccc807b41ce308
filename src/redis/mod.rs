//! The Redis that several processes share: one multiplexed connection for each process.
//!
//! Redis holds only data that may be lost at any time; callers fall back to the state of their process. Every key
//! begins with `meshgate:` and expires. Jobs are the exception: they are durable, and live in the Redis
//! of `JOBS_REDIS_URL`. Their keys begin with `meshgate:{jobs}:`; `jobs::redis` lists them. The others are:
//!
//! ```text
//!  meshgate:probe                    text         written by every process to check that it can; a minute
//!  meshgate:limit:key:NAME           sorted set   requests of the API key NAME, or of an address, within the
//!  meshgate:limit:address:ADDRESS                 window; until a window after the latest
//!      member  16 bytes, unique to the request
//!      score   its time, in µs of Redis' clock
//!  meshgate:cache:IDENTITY           text         outcome of that conversion, as JSON: the key of its result in the
//!                                                 store (`CACHE_DURATION`), or its error (a minute)
//!  meshgate:lease:IDENTITY           text         a token of the process that runs it; expires 1.5 s after that
//!                                                 process has last renewed it
//! ```
//!
//! Each operation uses one key, so that keys may be on any node of a cluster; keys used together would need the same
//! text in `{braces}`. Meshgate itself speaks to one address, not to a cluster or Sentinel.
//!
//! Requests never wait for a Redis that is known to be unavailable (`away` in `/readyz`):
//!
//! ```text
//!      three late answers in a row, a connection that breaks, a refusal to write
//!   up ───────────────────────────────────────────────────────────────────────▶ away
//!    ▲                                                                            │  every command fails at once;
//!    └────────────────────── reconnected, and can write ◀─────────────────────────┘  `reconnect.rs` retries, with pauses
//! ```
//!
//! The connection has its own thread, which is nearly idle. So commands are sent and answers are read in time even
//! while all other threads are busy with conversions, and a late answer is the fault of Redis.
//!
//! The crate's `ConnectionManager` also reconnects, but it never retries after a wrong password or while Redis loads
//! its data; it keeps a silent connection; and requests wait while it connects.

mod client;
mod connection_policy;
mod error;
mod link;
mod reconnect;
mod subscription;

pub use client::{PREFIX, Redis, Reply, examine};
pub use connection_policy::{ANSWER_WITHIN, ConnectionPolicy};
pub use error::Error;
pub use link::{CONNECT_WITHIN, Health, Observer};
pub use subscription::Subscription;
