//! What all requests share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Access;
use crate::engine::workdir::WorkDir;
use crate::limits::Limiter;
use crate::redis::Redis;
use crate::service::{Converter, Reports};
use crate::shutdown::Shutdown;
use crate::telemetry::Metrics;

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
    pub converter: Converter,
    pub work: WorkDir,
    pub reports: Reports,
    pub metrics: Arc<Metrics>,
    pub limiter: Arc<dyn Limiter>,
    /// None: this process is alone.
    pub redis: Option<Redis>,
    pub settings: Settings,
    pub shutdown: Shutdown,
    pub started: Instant,
}

pub type Shared = Arc<Gateway>;
