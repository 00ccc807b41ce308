//! Logs, traces and panics.

pub mod log_rotation;
pub mod logging;
pub mod otlp;
pub mod panic_hook;
mod span;

pub(crate) use span::span;
pub use span::{PROBE, REQUEST, in_span};
