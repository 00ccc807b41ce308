//! The executor of a process that runs no conversions with Blender: its jobs are for other processes.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::interface::{EngineRequest, Executor, Status};
use super::task::{CompletedTask, Version};
use crate::domain::{ConversionError, ErrorCode};

/// Refuses every conversion.
pub struct NoExecutor {
    refusal: ConversionError,
    /// What other processes with this installation convert with: the cache's entries depend on it.
    installed: Option<Version>,
}

impl NoExecutor {
    /// `reason` tells clients what to do instead.
    pub fn new(reason: &str, installed: Option<Version>) -> Self {
        Self { refusal: ConversionError::new(ErrorCode::EngineUnavailable, reason), installed }
    }
}

impl Executor for NoExecutor {
    fn start(&self) -> BoxFuture<'_, Result<(), ConversionError>> {
        ready(Err(self.refusal.clone())).boxed()
    }

    fn convert<'a>(&'a self, _: EngineRequest<'a>) -> BoxFuture<'a, Result<CompletedTask, ConversionError>> {
        ready(Err(self.refusal.clone())).boxed()
    }

    fn outage(&self) -> Option<ConversionError> {
        Some(self.refusal.clone())
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    fn version(&self) -> Option<Version> {
        self.installed.clone()
    }

    fn runs_elsewhere(&self) -> bool {
        true
    }

    fn status(&self) -> Status {
        Status::default()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }
}
