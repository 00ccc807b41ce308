//! Blender on this machine, started by the first conversion that needs it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;

use super::error::EngineError;
use super::supervisor::{Blender, Settings};
use crate::domain::{ConversionError, ErrorCode};
use crate::executor::interface::{EngineRequest, Executor, Running, Status};
use crate::executor::memory;
use crate::executor::task::{CompletedTask, Version};

/// Starts Blender when a conversion first needs it; repacking needs none.
pub struct LocalExecutor {
    settings: Option<Settings>,
    /// Why there is no engine: none was found, or the last start failed.
    trouble: Mutex<Option<Arc<EngineError>>>,
    failed_starts: AtomicU64,
    blender: OnceCell<Blender>,
    installed: OnceLock<Version>,
}

impl LocalExecutor {
    /// `settings` say how to run Blender, or why there is no engine.
    pub fn new(settings: Result<Settings, EngineError>) -> Self {
        let (settings, trouble) = match settings {
            Ok(settings) => (Some(settings), None),
            Err(error) => (None, Some(Arc::new(error))),
        };
        Self {
            settings,
            trouble: Mutex::new(trouble),
            failed_starts: AtomicU64::new(0),
            blender: OnceCell::new(),
            installed: OnceLock::new(),
        }
    }

    /// Returns Blender, which the first call starts. A caller that waited for a failed start returns that failure.
    async fn blender(&self) -> Result<&Blender, ConversionError> {
        let failed_before = self.failed_starts.load(Ordering::Relaxed);
        self.blender.get_or_try_init(|| self.try_start(failed_before)).await
    }

    async fn try_start(&self, failed_before: u64) -> Result<Blender, ConversionError> {
        if self.failed_starts.load(Ordering::Relaxed) == failed_before {
            if let Some(settings) = self.settings.clone() {
                match Blender::start(settings).await {
                    Ok(blender) => {
                        self.set_error(None);
                        return Ok(blender);
                    }
                    Err(error) => {
                        tracing::error!(%error, "the engine does not start");
                        self.set_error(Some(error));
                    }
                }
            }
            self.failed_starts.fetch_add(1, Ordering::Relaxed);
        }
        Err(unavailable(self.last_error().as_deref().unwrap_or(&EngineError::NotFound)))
    }

    fn last_error(&self) -> Option<Arc<EngineError>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_error(&self, error: Option<EngineError>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = error.map(Arc::new);
    }
}

impl Executor for LocalExecutor {
    fn start(&self) -> BoxFuture<'_, Result<(), ConversionError>> {
        async { self.blender().await.map(|_| ()) }.boxed()
    }

    fn convert<'a>(
        &'a self,
        request: EngineRequest<'a>,
    ) -> BoxFuture<'a, Result<CompletedTask, ConversionError>> {
        async move {
            let began = Instant::now();
            let blender = self.blender().await?;
            let allowed = request.allowed.saturating_sub(began.elapsed());
            blender.convert(EngineRequest { allowed, ..request }).await
        }
        .boxed()
    }

    fn outage(&self) -> Option<ConversionError> {
        match self.blender.get() {
            Some(blender) => blender.available().err(),
            None => self.last_error().map(|error| unavailable(&error)),
        }
    }

    fn trouble(&self) -> Option<String> {
        self.last_error().map(|error| error.to_string())
    }

    fn version(&self) -> Option<Version> {
        let known = self.blender.get().map(Blender::version).or_else(|| self.installed.get().cloned());
        known.or_else(|| {
            let installed = self.settings.as_ref()?.engine.installed()?;
            // Kept, because the lookup lists all installed packages.
            Some(self.installed.get_or_init(|| installed).clone())
        })
    }

    fn status(&self) -> Status {
        let running = self.blender.get().map(|blender| Running {
            version: blender.version(),
            stats: blender.stats(),
            sandbox_missing: blender.sandbox_missing().to_vec(),
        });
        Status { running, failed_starts: self.failed_starts.load(Ordering::Relaxed) }
    }

    fn has_memory_for(&self, memory_factor: u32) -> bool {
        let Some(settings) = &self.settings else { return false };
        let wanted = settings.memory_bytes.saturating_mul(memory_factor.into());
        memory::of_machine().is_some_and(|memory| wanted <= memory)
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        async {
            if let Some(blender) = self.blender.get() {
                blender.shutdown().await;
            }
        }
        .boxed()
    }
}

fn unavailable(error: &EngineError) -> ConversionError {
    ConversionError::new(ErrorCode::EngineUnavailable, error.public())
}
