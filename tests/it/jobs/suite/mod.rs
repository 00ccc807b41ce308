//! Tests of every queue.

mod cancelling;
mod claims;
mod delivery_attempts;
mod durability;
mod ends;
mod fairness;
mod give_backs;
mod hints;
mod idempotency;
mod leases;
mod lifecycle;
mod limits;
mod listing;
mod pauses;
mod removal;
mod webhooks;
