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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::telemetry::metrics::State;

    #[test]
    #[ignore = "run by another test, in a process of its own"]
    fn in_a_process_of_its_own() {
        let metrics = Arc::new(Metrics::new().unwrap());
        watch(Arc::clone(&metrics));
        assert!(std::thread::spawn(|| panic!("on purpose")).join().is_err());
        let text = metrics.render(&State::default()).unwrap();
        assert!(text.contains("\nmeshgate_panics_total 1\n"), "{text}");
    }

    #[test]
    fn a_panic_is_counted() {
        let name = "telemetry::panics::tests::in_a_process_of_its_own";
        let mut tests = Command::new(std::env::current_exe().unwrap());
        let output = tests.args(["--exact", "--ignored", name]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
