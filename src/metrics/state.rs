//! Metrics that are read from their owner at each scrape.

use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntGauge, IntGaugeVec, Registry, Result};

use super::register::{counters, kept, opts};
use crate::executor::stats::{RestartReason, Stats};

/// The state of the service at a scrape.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Whether conversions are accepted: the engine is warm, and the service is not stopping.
    pub ready: bool,
    /// Conversions that wait for the engine.
    pub waiting: usize,
    /// Slots of the engine, even if it is not warm yet.
    pub slots: usize,
    /// The engine's own counts.
    pub engine: Stats,
    /// Failed starts before the first engine, which counts later ones.
    pub failed_starts: u64,
    /// Backends besides the engine, and whether they work.
    pub backends: Vec<(&'static str, bool)>,
    /// Bytes of the results that the cache can serve.
    pub cache_bytes: u64,
    /// The number of jobs in each state.
    pub jobs: Vec<(&'static str, u64)>,
    /// Seconds since the job that has been queued longest was submitted; 0 if none is queued.
    pub oldest_job: f64,
    /// Jobs that this process has ended because the workers of all their attempts were lost.
    pub dead_jobs: u64,
    /// The number of Kubernetes Jobs in each state, if this process follows them.
    pub kubernetes_jobs: Option<[(&'static str, u64); 4]>,
    /// Number of lost log lines.
    pub lost_lines: u64,
    /// The engine's version, once it is known.
    pub engine_version: Option<String>,
}

impl State {
    /// Collects the metrics in a new registry, so that nothing of a scrape is left for the next one.
    pub(super) fn gather(&self) -> Result<Vec<MetricFamily>> {
        let registry = Registry::new();
        let gauge = |name, help| kept(&registry, IntGauge::with_opts(opts(name, help))?);
        let gauges =
            |name, help, labels: &[&str]| kept(&registry, IntGaugeVec::new(opts(name, help), labels)?);

        gauge(
            "ready",
            "1 if conversions are accepted, 0 if the engine is not warm or the service is stopping",
        )?
        .set(self.ready.into());
        gauge("queue_depth", "Conversions that wait for an engine slot")?.set(self.waiting as i64);

        let slots = gauges("engine_slots", "Engine slots, by state: busy or free", &["state"])?;
        let busy = self.engine.busy.min(self.slots);
        slots.with_label_values(&["busy"]).set(busy as i64);
        slots.with_label_values(&["free"]).set((self.slots - busy) as i64);

        let backends = gauges("backend_up", "1 if the backend works, 0 if it fails", &["backend"])?;
        for (backend, up) in &self.backends {
            backends.with_label_values(&[*backend]).set((*up).into());
        }

        let help = "Size of the results that the cache can serve; with Redis, of everything in the store";
        gauge("cache_bytes", help)?.set(self.cache_bytes as i64);

        let restarts = counters(
            &registry,
            "engine_restarts_total",
            "Blender processes that were replaced",
            &["reason"],
        )?;
        for reason in [RestartReason::Recycled, RestartReason::Died, RestartReason::Unresponsive] {
            let count = self.engine.restarts.get(&reason).copied().unwrap_or_default();
            restarts.with_label_values(&[reason.word()]).inc_by(count);
        }
        let help = "Starts of Blender that failed, also because Blender is not installed";
        counters(&registry, "engine_failed_starts_total", help, &[])?
            .with_label_values::<&str>(&[])
            .inc_by(self.failed_starts + self.engine.failed_starts);

        let help =
            "Attempts that failed because the child crashed or hung, or because its Blender process ended";
        let setbacks = counters(&registry, "engine_setbacks_total", help, &["input", "output", "kind"])?;
        for ((input, output), pair) in &self.engine.attempt_failures {
            let (input, output) = (input.to_string(), output.to_string());
            let kinds = [("crash", pair.crashes), ("hang", pair.hangs), ("engine_lost", pair.engine_losses)];
            for (kind, count) in kinds {
                setbacks.with_label_values(&[input.as_str(), output.as_str(), kind]).inc_by(count);
            }
        }

        let jobs = gauges("jobs", "Jobs that are kept, by state", &["state"])?;
        for (state, count) in &self.jobs {
            jobs.with_label_values(&[*state]).set(*count as i64);
        }
        let help = "Seconds since the job that has been queued longest was submitted; 0 if none is queued";
        kept(&registry, Gauge::with_opts(opts("jobs_oldest_queued_seconds", help))?)?.set(self.oldest_job);

        let help = "Jobs that failed because each of their attempts ended with its worker";
        counters(&registry, "jobs_dead_total", help, &[])?
            .with_label_values::<&str>(&[])
            .inc_by(self.dead_jobs);

        let help =
            "Kubernetes Jobs that are there, by state; every process that follows them has the same numbers";
        let kubernetes_jobs = gauges("kubernetes_jobs", help, &["state"])?;
        for (state, count) in self.kubernetes_jobs.iter().flatten() {
            kubernetes_jobs.with_label_values(&[*state]).set(*count as i64);
        }

        let help = "Log lines dropped because the output did not accept them";
        counters(&registry, "log_lines_lost_total", help, &[])?
            .with_label_values::<&str>(&[])
            .inc_by(self.lost_lines);

        let version = self.engine_version.as_deref().unwrap_or_default();
        gauges("build_info", "Versions of Meshgate and Blender", &["version", "blender"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION"), version])
            .set(1);
        Ok(registry.gather())
    }
}
