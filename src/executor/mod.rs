//! Runs the conversions that need Blender, and keeps their work folders.
//!
//! The conversion path calls [`Executor`]. `local` implements it with Blender processes on this machine; `none` refuses
//! everything, for gateways whose conversions run in other processes. `kubernetes` starts pods for heavy jobs; in each
//! of them, `local` runs the conversion.

mod interface;
pub mod kubernetes;
pub mod local;
pub mod memory;
mod none;
mod orphans;
pub mod stats;
pub mod task;
pub mod workdir;

pub use interface::{EngineRequest, Executor, Running, Status};
pub use none::NoExecutor;
