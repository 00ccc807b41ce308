//! Panics, wherever they happen: counted, and in the log under the request's number.

use std::panic;
use std::sync::Arc;

use super::Metrics;
use crate::domain::error::one_line;

/// From now on every panic of the process is counted and logged, and not printed.
pub fn watch(metrics: Arc<Metrics>) {
    panic::set_hook(Box::new(move |panic| {
        metrics.panicked();
        tracing::error!(panic = one_line(&panic.to_string()), "the program panicked");
    }));
}
