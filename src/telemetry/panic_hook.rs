//! Counts and logs panics in any thread, with the request ID if there is one.

use std::panic;

use crate::domain::error::one_line;

/// Installs a hook that counts and logs every panic of the process instead of printing it.
pub fn watch(count: impl Fn() + Send + Sync + 'static) {
    panic::set_hook(Box::new(move |panic| {
        count();
        tracing::error!(panic = one_line(&panic.to_string()), "the program panicked");
    }));
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    #[ignore = "run by another test, in a process of its own"]
    fn child_process_that_panics() {
        let panics = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&panics);
        watch(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        assert!(std::thread::spawn(|| panic!("on purpose")).join().is_err());
        assert_eq!(panics.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_panic_is_counted() {
        let name = "telemetry::panic_hook::tests::child_process_that_panics";
        let mut tests = Command::new(std::env::current_exe().unwrap());
        let output = tests.args(["--exact", "--ignored", name]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
