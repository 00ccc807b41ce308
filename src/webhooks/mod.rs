//! Webhooks: tell a client that its job has ended, by a request to the URL that it gave.
//!
//! ```text
//!  queue: due? ─▶ dispatcher ─▶ client ─▶ public address? ─▶ POST, signed ─▶ 2xx: delivered
//!    ▲                │                                                    ├─ 410: gone
//!    └── attempt, and when the next one is due ◀─────── outcome ◀──────────┘─ else: again, for about a day
//! ```
//!
//! - **The queue keeps them.** It records a delivery in the step that ends the job, so that it is sent at least once.
//!   Any process may send it: a delivery that was taken is leased for longer than an attempt may take.
//! - **Requests follow [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks)** 1.0.0, with
//!   symmetric signatures. All attempts of a delivery have the same ID and the same body.
//! - **Clients choose the URL**, so it could lead to services that only this machine can reach. Addresses are
//!   checked when the job is submitted, and again on those to which a connection is opened; redirects are failures.
//! - **Receivers share the dispatcher** (`places.rs`): a webhook whose host has no place left goes back to the queue for
//!   some seconds, which is no attempt.

mod address;
mod check;
mod client;
mod dispatcher;
mod outcome;
mod payload;
mod places;
mod service;
mod signature;

pub use check::MAX_URL_LENGTH;
pub use service::Webhooks;
