//! Metrics of Kubernetes Jobs.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, Registry, Result};

use super::register::{counters, kept, opts};

/// Buckets from a node that has the image to the time for which a Kubernetes Job may wait for a node, in seconds.
const SECONDS: &[f64] = &[0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Counts what becomes of Kubernetes Jobs. Only processes that make some have these metrics.
pub struct KubernetesMetrics {
    start: Histogram,
    failures: IntCounterVec,
}

impl KubernetesMetrics {
    pub(super) fn register(registry: &Registry) -> Result<Self> {
        let help = "Time from the creation of a Kubernetes Job by this process to the start of its container";
        let start = HistogramOpts::from(opts("kubernetes_job_start_seconds", help)).buckets(SECONDS.to_vec());
        let help = "Kubernetes Jobs that could not be made, or ended before their job, by reason; counted by the \
             process that ended the attempt";
        Ok(Self {
            start: kept(registry, Histogram::with_opts(start)?)?,
            failures: counters(registry, "kubernetes_job_failures_total", help, &["reason"])?,
        })
    }

    /// Records how long a Kubernetes Job of this process took to start.
    pub fn started(&self, took: Duration) {
        self.start.observe(took.as_secs_f64());
    }

    /// Counts a Kubernetes Job that could not be made, or ended before its job.
    pub fn failed(&self, reason: &str) {
        self.failures.with_label_values(&[reason]).inc();
    }
}
