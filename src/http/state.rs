//! What all requests share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};

use super::problem::Problem;
use super::report_texts::Sending;
use super::shares::{Results, Shares};
use crate::config::Access;
use crate::conversion::Service;
use crate::domain::ConversionError;
use crate::metrics::Metrics;
use crate::rate_limit::Limiter;
use crate::redis::Redis;
use crate::shutdown::Shutdown;
use crate::storage::Storage;

/// What bounds requests.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of one conversion, waiting included.
    pub timeout: Duration,
    /// Bytes of one body.
    pub max_file_size: u64,
    /// How long the next part of a body, or a request's headers, may take to come.
    pub read_timeout: Duration,
    /// Metrics are at an address of their own, not among the rest.
    pub metrics_apart: bool,
    /// Who may ask.
    pub access: Access,
}

pub struct Gateway {
    pub service: Service,
    pub storage: Storage,
    pub metrics: Arc<Metrics>,
    pub limiter: Arc<dyn Limiter>,
    /// None: this process is alone.
    pub redis: Option<Redis>,
    pub uploads: Arc<Shares>,
    pub results: Results,
    pub sending: Sending,
    pub settings: Settings,
    pub shutdown: Shutdown,
    pub started: Instant,
}

pub type Shared = Arc<Gateway>;

/// So many bytes of a body are read to see whether its conversion is known, when it may not be carried out now.
const WORTH_A_LOOK: u64 = 256 << 10;

impl Gateway {
    /// Whether it is worth its while to read a body before anything is refused: what is known costs no work.
    pub(super) fn may_know(&self, body: &Body) -> bool {
        self.service.has_cache() && body.size_hint().upper().is_some_and(|bytes| bytes <= WORTH_A_LOOK)
    }

    /// An error as clients see it, with when to try again.
    pub(super) fn problem(&self, error: ConversionError) -> Problem {
        Problem { retry_after: self.service.retry_after(&error), error }
    }
}

#[cfg(test)]
impl Gateway {
    /// One without an engine, for tests of what comes before it.
    pub(super) fn without_engine(
        folder: &std::path::Path,
        access: Access,
        limiter: Arc<dyn Limiter>,
    ) -> Shared {
        use crate::conversion::{Admission, Converter, ResultCache};
        use crate::executor::local::{EngineError, LocalExecutor};
        use crate::executor::workdir::WorkDir;

        let work = WorkDir::open(folder).unwrap();
        let limits = crate::intake::Limits::default();
        let stored = crate::config::Storage {
            place: None,
            ttl: Duration::from_hours(1),
            max_bytes: 1 << 20,
            presign: false,
        };
        let executor = Arc::new(LocalExecutor::new(Err(EngineError::NotFound)));
        let results_folder = work.path().to_owned();
        let converter = Converter::new(executor, work, limits, Admission::new(1, 0));
        let (metrics, shutdown) = (Arc::new(Metrics::new().unwrap()), Shutdown::default());
        let storage = Storage::open(&stored, &folder.join("store")).unwrap();
        Arc::new(Self {
            service: Service::new(
                Arc::new(converter),
                ResultCache::new(None, storage.clone(), results_folder),
                Arc::clone(&metrics),
                shutdown.killed.clone(),
            ),
            metrics,
            storage,
            limiter,
            redis: None,
            uploads: Arc::new(Shares::new("uploads", 1 << 20)),
            results: Results::new(1 << 20),
            sending: Sending::default(),
            settings: Settings {
                timeout: Duration::from_mins(1),
                max_file_size: 1 << 20,
                read_timeout: Duration::from_secs(30),
                metrics_apart: false,
                access,
            },
            shutdown,
            started: Instant::now(),
        })
    }
}
