//! `/v1/jobs`: conversions that are accepted for later, the way to their results, and `Prefer: respond-async`.
//!
//! ```text
//!  POST /v1/jobs ─────────────┐
//!                             ├─▶ submit: reserves the key, receives the model, records the job ─▶ 202
//!  POST /convert ─▶ respond_async ─▶ (the same) ─▶ wait ─▶ result, or 202
//!
//!  GET  /v1/jobs/{id} ────────▶ find ─▶ wait ─▶ document
//!              …/result ──────▶ find ─▶ range, result_digest ─▶ file
//!              …/events ──────▶ find ─▶ follows the job until it ends
//!              …/cancel, …/retry, …/webhook/redeliver, DELETE
//! ```

pub mod actions;
pub mod document;
pub mod errors;
pub mod events;
mod find;
pub mod get;
mod idempotency;
pub mod list;
mod prefer;
mod range;
pub mod respond_async;
pub mod result;
mod result_digest;
pub mod submit;
mod wait;
