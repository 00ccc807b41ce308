//! The state that all requests share.

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

/// Limits and access rules of requests.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Time limit of a conversion, including its wait in the queue.
    pub timeout: Duration,
    /// Largest request body, in bytes.
    pub max_file_size: u64,
    /// Time limit for the next part of a body, and for a request's headers.
    pub read_timeout: Duration,
    /// Whether metrics have their own address, and only that.
    pub metrics_apart: bool,
    /// API keys, rate limits, CORS origins and trusted proxies.
    pub access: Access,
}

pub struct Gateway {
    pub service: Service,
    pub storage: Storage,
    pub metrics: Arc<Metrics>,
    pub limiter: Arc<dyn Limiter>,
    /// `None` if no Redis is configured.
    pub redis: Option<Redis>,
    pub uploads: Arc<Shares>,
    pub results: Results,
    pub sending: Sending,
    pub settings: Settings,
    pub shutdown: Shutdown,
    pub started: Instant,
}

pub type Shared = Arc<Gateway>;

/// Largest body that is read just for a cache lookup, when a conversion would be refused. Bytes.
const MAX_LOOKUP_BODY: u64 = 256 << 10;

impl Gateway {
    /// Whether to read a body for a cache lookup before refusing the request: a cache hit costs no work.
    pub(super) fn may_know(&self, body: &Body) -> bool {
        self.service.cache().is_on() && body.size_hint().upper().is_some_and(|bytes| bytes <= MAX_LOOKUP_BODY)
    }

    /// Returns the error response, with its `Retry-After`.
    pub(super) fn problem(&self, error: ConversionError) -> Problem {
        Problem { retry_after: self.service.retry_after(&error), error }
    }
}

#[cfg(test)]
impl Gateway {
    /// A gateway without an engine, for tests.
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
