//! Metrics for Prometheus.
//!
//! Counters and histograms are updated when an operation ends, by a guard if that may be a hang-up or a panic. Gauges and
//! the engine's own counters are read from their owner at each scrape, so that they cannot drift: see `state`.

mod kubernetes;
mod register;
mod state;

use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Registry, Result, TextEncoder,
};

use crate::domain::{ErrorCode, Format};
pub use kubernetes::KubernetesMetrics;
use register::{counters, kept, opts};
pub use state::State;

/// The media type of [`Metrics::render`].
pub const MEDIA_TYPE: &str = prometheus::TEXT_FORMAT;

/// Buckets from a native repack to the default time limit of a conversion, in seconds.
const SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Buckets from a Redis on the same machine to the time limit of a command, in seconds.
const SHORT_SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5];

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;

const UNKNOWN: &str = "unknown";
const SUCCEEDED: &str = "succeeded";

/// The outcome of a conversion; a field is `None` if the conversion did not get that far.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The format of the model, and its size in bytes.
    pub model: Option<(Format, u64)>,
    pub target: Format,
    /// The lane: `native` or `blender`.
    pub engine: Option<&'static str>,
    /// `None` if it succeeded.
    pub error: Option<ErrorCode>,
    /// Time since the request.
    pub took: Duration,
    /// Size of all files of the result, in bytes.
    pub result_bytes: Option<u64>,
    /// Time spent waiting for a slot of Blender.
    pub waited: Option<Duration>,
}

pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    conversions: IntCounterVec,
    conversion_duration: HistogramVec,
    input_bytes: Histogram,
    output_bytes: Histogram,
    queue_wait: Histogram,
    peak_memory: Histogram,
    store_duration: HistogramVec,
    cache_requests: IntCounterVec,
    panics: IntCounter,
    rate_limited: IntCounter,
    overloaded: IntCounter,
    redis_duration: HistogramVec,
    job_wait: Histogram,
    job_attempts: IntCounterVec,
    webhook_deliveries: IntCounterVec,
}

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// None in practice: an invalid or duplicate name.
    #[expect(clippy::too_many_lines, reason = "a row for each metric")]
    pub fn new() -> Result<Self> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let counter = |name, help| kept(&registry, IntCounter::with_opts(opts(name, help))?);
        let histogram =
            |name, help, limits: &[f64]| kept(&registry, Histogram::with_opts(buckets(name, help, limits))?);
        let histograms = |name, help, limits: &[f64], labels: &[&str]| {
            kept(&registry, HistogramVec::new(buckets(name, help, limits), labels)?)
        };
        let sizes = prometheus::exponential_buckets(KIB, 4.0, 11)?;
        let memory = prometheus::exponential_buckets(64.0 * MIB, 2.0, 10)?;
        let job_waits = [&[0.001], SECONDS, &[3600.0, 6.0 * 3600.0]].concat();
        let waits = [&[0.001], SECONDS].concat();
        // A local folder is faster than all other operations here.
        let store = [&[0.000_25, 0.001, 0.0025], SECONDS].concat();
        let metrics = Self {
            requests: counters(
                &registry,
                "http_requests_total",
                "Requests by status; 499 if the client hung up before the response",
                &["method", "route", "status"],
            )?,
            request_duration: histograms(
                "http_request_duration_seconds",
                "Time from a request's headers to the start of its response",
                SECONDS,
                &["method", "route"],
            )?,
            conversions: counters(
                &registry,
                "conversions_total",
                "Conversions by outcome: succeeded, or the code of the error, such as cancelled",
                &["input", "output", "engine", "outcome"],
            )?,
            conversion_duration: histograms(
                "conversion_duration_seconds",
                "Time of conversions that reached an engine, from the request to the result, including upload and \
                 queue",
                SECONDS,
                &["input", "output", "engine"],
            )?,
            input_bytes: histogram("conversion_input_bytes", "Size of unpacked models", &sizes)?,
            output_bytes: histogram(
                "conversion_output_bytes",
                "Size of all files of a result, before they are zipped",
                &sizes,
            )?,
            queue_wait: histogram(
                "queue_wait_seconds",
                "Time that conversions waited for an engine slot, whether or not they got one",
                &waits,
            )?,
            peak_memory: histogram(
                "engine_child_peak_memory_bytes",
                "Peak resident memory of the process that ran a conversion",
                &memory,
            )?,
            store_duration: histograms(
                "store_duration_seconds",
                "Time of operations of the result store, by outcome: done, present, absent, corrupt, failed, or \
                 skipped because the store was unavailable",
                &store,
                &["operation", "outcome"],
            )?,
            cache_requests: counters(
                &registry,
                "cache_requests_total",
                "Requests for conversions, by cache result: hit, miss, coalesced with an equal request at the same \
                 time, or bypass if the cache was not read",
                &["result"],
            )?,
            panics: counter("panics_total", "Panics that were caught")?,
            rate_limited: counter(
                "rate_limited_total",
                "Requests refused because the client reached its rate limit",
            )?,
            overloaded: counter(
                "overloaded_total",
                "Requests refused because unfinished uploads, or results or reports being sent, reached their limit",
            )?,
            redis_duration: histograms(
                "redis_command_duration_seconds",
                "Time of Redis commands, by outcome: ok, error, or late if the command timed out",
                SHORT_SECONDS,
                &["outcome"],
            )?,
            job_wait: histogram(
                "job_wait_seconds",
                "Time from the acceptance of a job to the start of its first attempt",
                &job_waits,
            )?,
            job_attempts: counters(
                &registry,
                "job_attempts_total",
                "Attempts of jobs that ended in this process: succeeded, failed, cancelled, lost with the lease, or \
                 the reason why the job was queued again",
                &["reason"],
            )?,
            webhook_deliveries: counters(
                &registry,
                "webhook_deliveries_total",
                "Attempts to deliver a webhook, by outcome: delivered, failed and to be repeated, gave_up after the \
                 last attempt, or gone if the receiver wants no more",
                &["outcome"],
            )?,
            registry,
        };
        for reason in [
            "succeeded",
            "failed",
            "cancelled",
            "lost",
            "stopping",
            "engine_unavailable",
            "engine_lost",
            "store_unavailable",
            "disk_full",
            "out_of_memory",
        ] {
            metrics.job_attempts.with_label_values(&[reason]);
        }
        for outcome in ["delivered", "failed", "gave_up", "gone"] {
            metrics.webhook_deliveries.with_label_values(&[outcome]);
        }
        for result in ["hit", "miss", "coalesced", "bypass"] {
            metrics.cache_requests.with_label_values(&[result]);
        }
        Ok(metrics)
    }

    /// Registers the metrics of a process that makes Kubernetes Jobs.
    ///
    /// # Errors
    /// When they are registered already.
    pub fn kubernetes(&self) -> Result<KubernetesMetrics> {
        KubernetesMetrics::register(&self.registry)
    }

    /// Counts a request that was responded to or cancelled. `route` is the route's pattern, so that labels are few.
    pub fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[method, route, &status.to_string()]).inc();
        self.request_duration.with_label_values(&[method, route]).observe(took.as_secs_f64());
    }

    /// Counts a request that was refused before it could be parsed, and thus has no duration.
    pub fn refused(&self, method: &str, route: &str, status: u16) {
        self.requests.with_label_values(&[method, route, &status.to_string()]).inc();
    }

    /// Counts a conversion that ended.
    pub fn conversion(&self, ended: &Ended) {
        let input = ended.model.map_or_else(|| UNKNOWN.to_owned(), |(format, _)| format.to_string());
        let output = ended.target.to_string();
        let engine = ended.engine.unwrap_or("none");
        let outcome = ended.error.map_or_else(|| SUCCEEDED.to_owned(), |code| code.to_string());
        self.conversions.with_label_values(&[&input, &output, engine, &outcome]).inc();
        if ended.engine.is_some() {
            let took = ended.took.as_secs_f64();
            self.conversion_duration.with_label_values(&[&input, &output, engine]).observe(took);
        }
        if let Some((_, bytes)) = ended.model {
            self.input_bytes.observe(bytes as f64);
        }
        if let Some(bytes) = ended.result_bytes {
            self.output_bytes.observe(bytes as f64);
        }
        if let Some(waited) = ended.waited {
            self.queue_wait.observe(waited.as_secs_f64());
        }
    }

    /// Records the peak resident set of a child process that ended.
    pub fn child_memory(&self, bytes: u64) {
        self.peak_memory.observe(bytes as f64);
    }

    /// Counts a conversion by the `result` of its cache lookup.
    pub fn cached(&self, result: &str) {
        self.cache_requests.with_label_values(&[result]).inc();
    }

    /// Records an operation of the store, failed or not.
    pub fn stored(&self, operation: &str, outcome: &str, took: Duration) {
        self.store_duration.with_label_values(&[operation, outcome]).observe(took.as_secs_f64());
    }

    pub fn panicked(&self) {
        self.panics.inc();
    }

    pub fn rate_limited(&self) {
        self.rate_limited.inc();
    }

    pub fn overloaded(&self) {
        self.overloaded.inc();
    }

    /// Records a command to Redis that ended or timed out.
    pub fn redis(&self, outcome: &str, took: Duration) {
        self.redis_duration.with_label_values(&[outcome]).observe(took.as_secs_f64());
    }

    /// Counts an attempt of a job, by the reason why it ended.
    pub fn job_attempt(&self, reason: &str) {
        self.job_attempts.with_label_values(&[reason]).inc();
    }

    /// Records how long a job waited for its first attempt.
    pub fn job_waited(&self, waited: Duration) {
        self.job_wait.observe(waited.as_secs_f64());
    }

    /// Counts an attempt to deliver a webhook.
    pub fn webhook_attempt(&self, outcome: &str) {
        self.webhook_deliveries.with_label_values(&[outcome]).inc();
    }

    /// Returns all metrics in Prometheus' text format.
    ///
    /// # Errors
    /// None in practice: a value that cannot be written.
    pub fn render(&self, state: &State) -> Result<String> {
        let mut families = self.registry.gather();
        families.extend(state.gather()?);
        families.sort_by(|one, other| one.name().cmp(other.name()));
        TextEncoder::new().encode_to_string(&families)
    }
}

fn buckets(name: &str, help: &str, limits: &[f64]) -> HistogramOpts {
    HistogramOpts::new(name, help).namespace("meshgate").buckets(limits.to_vec())
}
