//! Counts conversions in the metrics, however they end.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::domain::{ErrorCode, Format};
use crate::executor::stats::Usage;
use crate::metrics::{Ended, Metrics};

/// Counts one conversion, once: when it ends, or when it is dropped because nobody waits for it any more.
pub struct Record {
    metrics: Arc<Metrics>,
    /// Cancelled when the service cancels running conversions.
    cancelling: CancellationToken,
    target: Format,
    began: Instant,
    pub(super) observed: Observed,
    counted: bool,
}

/// What is known of a conversion, filled in as it goes on; a missing fact was not reached.
#[derive(Debug, Default)]
pub struct Observed {
    /// The model's format, detected from its content, and its bytes.
    pub(super) model: OnceLock<(Format, u64)>,
    /// The lane: `native` or `blender`.
    pub(super) engine: OnceLock<&'static str>,
    /// Bytes of all files of the result.
    pub(super) result_bytes: OnceLock<u64>,
    /// The conversion's use of Blender.
    pub(super) usage: Arc<Usage>,
}

impl Record {
    /// Makes the record of a conversion that was requested at `began`.
    pub fn new(metrics: Arc<Metrics>, cancelling: CancellationToken, target: Format, began: Instant) -> Self {
        let observed = Observed::default();
        let memory = Arc::clone(&metrics);
        observed.usage.observe_children(move |bytes| memory.child_memory(bytes));
        Self { metrics, cancelling, target, began, observed, counted: false }
    }

    /// Counts the conversion as succeeded (`None`) or failed.
    pub fn end(mut self, error: Option<ErrorCode>) {
        self.count(error);
    }

    /// Leaves the conversion uncounted, and returns when it was requested.
    pub fn disarm(mut self) -> Instant {
        self.counted = true;
        self.began
    }

    fn count(&mut self, error: Option<ErrorCode>) {
        self.counted = true;
        let Observed { model, engine, result_bytes, usage } = &self.observed;
        self.metrics.conversion(&Ended {
            model: model.get().copied(),
            target: self.target,
            engine: engine.get().copied(),
            error,
            took: self.began.elapsed(),
            result_bytes: result_bytes.get().copied(),
            waited: usage.waited(),
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.counted {
            return;
        }
        let error = if std::thread::panicking() {
            ErrorCode::Internal
        } else if self.cancelling.is_cancelled() {
            ErrorCode::ShuttingDown
        } else {
            ErrorCode::Cancelled
        };
        self.count(Some(error));
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::metrics::State;

    #[test]
    fn every_outcome_is_counted_once() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let cancelling = CancellationToken::new();
        let record = || Record::new(Arc::clone(&metrics), cancelling.clone(), Format::Glb, Instant::now());
        record().end(None);
        record().end(Some(ErrorCode::EmptyModel));
        record().disarm();
        drop(record());
        let panicking = record();
        let panic = catch_unwind(AssertUnwindSafe(move || {
            let _record = panicking;
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(panic.is_err());
        cancelling.cancel();
        drop(record());
        let text = metrics.render(&State::default()).unwrap();
        for outcome in ["succeeded", "empty_model", "cancelled", "internal", "shutting_down"] {
            let labels = format!("engine=\"none\",input=\"unknown\",outcome=\"{outcome}\",output=\"glb\"");
            let line = format!("meshgate_conversions_total{{{labels}}} 1");
            assert!(text.contains(&line), "no {line} in {text}");
        }
        assert_eq!(text.matches("\nmeshgate_conversions_total{").count(), 5, "{text}");
    }
}
