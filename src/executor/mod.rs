//! Runs the conversions that need Blender, and keeps their work folders.
//!
//! The conversion path calls [`Executor`]. `local` implements it with Blender processes on this machine; `none` refuses
//! everything, for gateways whose conversions run in other processes, as jobs.

mod interface;
pub mod local;
pub mod memory;
mod none;
mod orphans;
pub mod stats;
pub mod task;
pub mod workdir;

pub use interface::{EngineRequest, Executor, Running, Status};
pub use none::NoExecutor;
