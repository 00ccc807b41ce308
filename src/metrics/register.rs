//! Registers metrics.

use prometheus::core::Collector;
use prometheus::{IntCounterVec, Opts, Registry, Result};

pub fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("meshgate")
}

/// Registers a counter for each combination of labels.
pub fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
    kept(registry, IntCounterVec::new(opts(name, help), labels)?)
}

/// Registers a metric.
pub fn kept<T: Collector + Clone + 'static>(registry: &Registry, metric: T) -> Result<T> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
