//! Carries out the conversions that need Blender, and keeps the folders in which it does so.
//!
//! [`Executor`] is what the conversion path asks. `local` runs Blender's processes on this machine.

pub mod local;
mod orphans;
pub mod stats;
pub mod task;
pub mod workdir;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::domain::{Client, ConversionError, Stage};
use stats::{Stats, Usage};
use task::{Done, Task, Version};
use workdir::ConversionFolder;

/// Carries out conversions that need Blender.
pub trait Executor: Send + Sync {
    /// Starts the engine, unless it runs. A caller that waited for a start that failed gets its error.
    ///
    /// # Errors
    /// `engine_unavailable`, in words for clients; [`Executor::trouble`] has those for the operator.
    fn start(&self) -> BoxFuture<'_, Result<(), ConversionError>>;

    /// Converts the model in the order's folder; starts the engine where that has not been done. Dropping the future
    /// cancels the conversion; the folder stays until nothing writes to it any more, which may be a moment later.
    ///
    /// # Errors
    /// One code and one sentence.
    fn convert<'a>(&'a self, order: Order<'a>) -> BoxFuture<'a, Result<Done, ConversionError>>;

    /// Why a conversion would fail at this moment, without trying: `engine_unavailable`.
    fn outage(&self) -> Option<ConversionError>;

    /// Why the engine does not run, in words for the operator: with paths, and with the last lines that it printed.
    /// `None` when it started, or has not been asked for yet.
    fn trouble(&self) -> Option<String>;

    /// The version that runs; before the engine has started, the one that is installed, where that can be told.
    fn version(&self) -> Option<Version>;

    /// The engine at this moment.
    fn status(&self) -> Status;

    /// Ends the engine and waits for it.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// One conversion, for an executor.
pub struct Order<'a> {
    /// Clients share the slots of an engine.
    pub client: Client,
    pub folder: &'a ConversionFolder,
    pub task: Task,
    /// The time for all of it, waiting for a slot included.
    pub allowed: Duration,
    /// Called with each stage as it begins, and with how much of it is done, from 0 to 1, where that is known.
    pub progress: Box<dyn FnMut(Stage, Option<f64>) + Send + 'a>,
    /// Filled in with what the conversion uses, however it ends.
    pub usage: Arc<Usage>,
}

/// The engine at a moment.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// `None` until the engine has started.
    pub running: Option<Running>,
    /// How often the engine was to be started for the first time in vain. [`Stats`] counts the starts of its successors.
    pub failed_starts: u64,
}

/// An engine that was started.
#[derive(Debug, Clone)]
pub struct Running {
    pub version: Version,
    pub stats: Stats,
    /// The parts of the sandbox that this machine lacks.
    pub sandbox_missing: Vec<String>,
}
