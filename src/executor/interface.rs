//! The interface between the conversion path and what runs Blender.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::stats::{Stats, Usage};
use super::task::{CompletedTask, Task, Version};
use super::workdir::ConversionFolder;
use crate::domain::{Client, ConversionError, Purpose, Stage};

/// Runs conversions that need Blender.
pub trait Executor: Send + Sync {
    /// Starts the engine unless it runs. A caller that waited for a failed start returns that failure. Its error is
    /// worded for clients; [`Executor::trouble`] is worded for the operator.
    fn start(&self) -> BoxFuture<'_, Result<(), ConversionError>>;

    /// Converts the model in the request's folder; starts the engine first if needed. Dropping the future cancels the
    /// conversion. The folder stays until nothing writes to it any more, which may be a moment later.
    fn convert<'a>(
        &'a self,
        request: EngineRequest<'a>,
    ) -> BoxFuture<'a, Result<CompletedTask, ConversionError>>;

    /// Returns `engine_unavailable` if a conversion would fail now; starts nothing.
    fn outage(&self) -> Option<ConversionError>;

    /// Returns why the engine does not run, worded for the operator, with paths and the engine's last lines of output.
    /// `None` if the engine started or was not needed yet.
    fn trouble(&self) -> Option<String>;

    /// The running version; before the start, the installed version if it is known.
    fn version(&self) -> Option<Version>;

    fn status(&self) -> Status;

    /// Whether conversions that need Blender run in other processes, so that this executor refuses them for ever.
    fn runs_elsewhere(&self) -> bool {
        false
    }

    /// Whether the engine has the memory for a conversion with this multiple of the usual memory limit.
    fn has_memory_for(&self, _memory_factor: u32) -> bool {
        false
    }

    /// Ends the engine and waits for it.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// One conversion, for an executor.
pub struct EngineRequest<'a> {
    /// The client; clients share the slots fairly.
    pub client: Client,
    pub purpose: Purpose,
    pub folder: &'a ConversionFolder,
    pub task: Task,
    /// The time for the whole conversion. For a job, it begins when the job gets a slot.
    pub allowed: Duration,
    /// Called with each stage as it begins, and with the part of it that is done, from 0 to 1, if known.
    pub progress: Box<dyn FnMut(Stage, Option<f64>) + Send + 'a>,
    /// Filled in with the conversion's use of the engine, however it ends.
    pub usage: Arc<Usage>,
}

/// A snapshot of the engine.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// `None` until the engine has started.
    pub running: Option<Running>,
    /// Failed first starts of the engine. [`Stats`] counts the failed starts of later zygotes.
    pub failed_starts: u64,
}

#[derive(Debug, Clone)]
pub struct Running {
    pub version: Version,
    pub stats: Stats,
    /// The parts of the sandbox that this machine lacks.
    pub sandbox_missing: Vec<String>,
}
