//! A conversion that is counted whatever its end.

use std::sync::Arc;
use std::time::Instant;

use super::Metrics;
use crate::conversion::{Course, Lane};
use crate::domain::{ErrorCode, Format};

const UNKNOWN: &str = "unknown";
const SUCCEEDED: &str = "succeeded";

/// Counts one conversion, once: at its end, or when it is dropped because nobody waits for it any more.
pub struct Watched {
    metrics: Arc<Metrics>,
    target: Format,
    course: Arc<Course>,
    began: Instant,
    ended: bool,
}

impl Watched {
    pub(super) fn new(metrics: Arc<Metrics>, target: Format, course: Arc<Course>, began: Instant) -> Self {
        let peak_memory = metrics.peak_memory.clone();
        course.usage().observe_children(move |bytes| peak_memory.observe(bytes as f64));
        Self { metrics, target, course, began, ended: false }
    }

    /// The conversion succeeded (`None`), or did not.
    pub fn end(mut self, error: Option<ErrorCode>) {
        self.count(error);
    }

    /// It is not counted here; says when it began.
    pub fn dismiss(mut self) -> Instant {
        self.ended = true;
        self.began
    }

    fn count(&mut self, error: Option<ErrorCode>) {
        self.ended = true;
        let (metrics, course) = (&self.metrics, &self.course);
        let model = course.model();
        let input = model.map_or_else(|| UNKNOWN.to_owned(), |(format, _)| format.to_string());
        let output = self.target.to_string();
        let lane = course.lane();
        let engine = lane.map_or("none", Lane::word);
        let outcome = error.map_or_else(|| SUCCEEDED.to_owned(), |code| code.to_string());
        metrics.conversions.with_label_values(&[&input, &output, engine, &outcome]).inc();
        if lane.is_some() {
            let took = self.began.elapsed().as_secs_f64();
            metrics.conversion_duration.with_label_values(&[&input, &output, engine]).observe(took);
        }
        if let Some((_, bytes)) = model {
            metrics.input_bytes.observe(bytes as f64);
        }
        if let Some(bytes) = course.result_bytes() {
            metrics.output_bytes.observe(bytes as f64);
        }
        if let Some(waited) = course.usage().waited() {
            metrics.queue_wait.observe(waited.as_secs_f64());
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let panicked = std::thread::panicking();
        self.count(Some(if panicked { ErrorCode::Internal } else { ErrorCode::Cancelled }));
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::metrics::State;

    #[test]
    fn every_end_is_counted_once() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let watch = || metrics.conversion(Format::Glb, &Arc::default());
        watch().end(None);
        watch().end(Some(ErrorCode::EmptyModel));
        drop(watch());
        let watched = watch();
        let panic = catch_unwind(AssertUnwindSafe(move || {
            let _watched = watched;
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(panic.is_err());
        let text = metrics.render(&State::default()).unwrap();
        for outcome in ["succeeded", "empty_model", "cancelled", "internal"] {
            let labels = format!("engine=\"none\",input=\"unknown\",outcome=\"{outcome}\",output=\"glb\"");
            let line = format!("meshgate_conversions_total{{{labels}}} 1");
            assert!(text.contains(&line), "no {line} in {text}");
        }
        assert_eq!(text.matches("\nmeshgate_conversions_total{").count(), 4, "{text}");
    }
}
