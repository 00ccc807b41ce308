//! The state that all requests share.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, HttpBody};

use super::problem::Problem;
use super::report_texts::ReportTexts;
use super::shares::{ResultShares, Shares};
use super::waiting::Waiting;
use crate::config::{Access, Server};
use crate::conversion::Service;
use crate::domain::ConversionError;
use crate::jobs::Jobs;
use crate::jobs::kubernetes::{HeavyPolicy, KubernetesJobs};
use crate::metrics::Metrics;
use crate::rate_limit::Limiter;
use crate::redis::Redis;
use crate::shutdown::Shutdown;
use crate::storage::Storage;
use crate::webhooks::Webhooks;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It serves the API.
    Gateway,
    /// It runs jobs, and serves probes and metrics only.
    Worker,
}

pub struct Gateway {
    pub role: Role,
    pub service: Service,
    pub jobs: Jobs,
    /// Which jobs are heavy; `None` if this service makes no Kubernetes Jobs.
    pub heavy: Option<HeavyPolicy>,
    /// The Kubernetes Jobs; `None` if this process neither makes nor follows any.
    pub kubernetes: Option<KubernetesJobs>,
    pub webhooks: Webhooks,
    /// The Redis that keeps the jobs; `None` if this machine does.
    pub jobs_redis: Option<Redis>,
    pub storage: Storage,
    pub metrics: Arc<Metrics>,
    pub limiter: Arc<dyn Limiter>,
    /// `None` if no Redis is configured.
    pub redis: Option<Redis>,
    pub uploads: Arc<Shares>,
    pub results: ResultShares,
    pub waiting: Waiting,
    pub report_texts: ReportTexts,
    pub settings: Server,
    pub access: Access,
    pub shutdown: Shutdown,
    pub started: Instant,
}

pub type Shared = Arc<Gateway>;

/// Largest body that is read just for a cache lookup, when a conversion would be refused. Bytes.
const MAX_LOOKUP_BODY: u64 = 256 << 10;

impl Gateway {
    /// Whether to read a body for a cache lookup before refusing the request: a cache hit costs no work.
    pub(super) fn may_be_cached(&self, body: &Body) -> bool {
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
        config: crate::config::Config,
        limiter: Arc<dyn Limiter>,
    ) -> Shared {
        use crate::conversion::{Admission, Converter, ResultCache};
        use crate::executor::local::{EngineError, LocalExecutor};
        use crate::executor::workdir::WorkDir;
        use crate::jobs::{Limits, Queue, SqliteQueue};

        let work = WorkDir::open(folder).unwrap();
        let limits = crate::intake::ModelLimits::default();
        let stored = crate::config::Storage {
            location: None,
            ttl: std::time::Duration::from_hours(1),
            max_bytes: 1 << 20,
            presign: false,
        };
        let executor = Arc::new(LocalExecutor::new(Err(EngineError::NotFound)));
        let results_folder = work.path().to_owned();
        let converter = Converter::new(executor, work, limits, Admission::new(1, 0));
        let (metrics, shutdown) = (Arc::new(Metrics::new().unwrap()), Shutdown::default());
        let storage = Storage::open(&stored, &folder.join("store")).unwrap();
        // The start of a process makes it.
        std::fs::create_dir_all(folder.join("store/jobs")).unwrap();
        let limits =
            Limits { jobs: 10, client_jobs: 10, bytes: 1 << 20, client_bytes: 1 << 20, ttl: config.jobs.ttl };
        let queue: Arc<dyn Queue> = Arc::new(SqliteQueue::open(&folder.join("jobs.sqlite"), limits).unwrap());
        let webhooks = Webhooks::new(&config.webhooks, Arc::clone(&queue), Arc::clone(&metrics)).unwrap();
        Arc::new(Self {
            role: Role::Gateway,
            jobs: Jobs::new(queue, storage.clone(), results_folder.clone(), limits),
            heavy: None,
            kubernetes: None,
            webhooks,
            jobs_redis: None,
            service: Service::new(
                Arc::new(converter),
                ResultCache::new(None, storage.clone(), results_folder),
                Arc::clone(&metrics),
                shutdown.cancelling.clone(),
            ),
            metrics,
            storage,
            limiter,
            redis: None,
            uploads: Arc::new(Shares::new("uploads", 1 << 20)),
            results: ResultShares::new(1 << 20),
            waiting: Waiting::new(config.server.max_connections),
            report_texts: ReportTexts::default(),
            settings: config.server,
            access: config.access,
            shutdown,
            started: Instant::now(),
        })
    }
}
