//! Tests of every queue.

mod cancelling;
mod durability;
mod fairness;
mod idempotency;
mod leases;
mod lifecycle;
mod limits;
mod listing;
mod removal;
mod webhooks;
