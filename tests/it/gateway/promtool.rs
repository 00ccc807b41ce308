//! Checks of alerts and metrics with Prometheus' promtool.
//!
//! The tool is not available everywhere, so these tests are ignored by default. `make test` runs them if it has the
//! tool, and says so if not.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::engine::{motion, send};
use super::{Gateway, TRIANGLE, scrape};

/// Runs promtool in the folder of the alerts.
fn promtool(arguments: &[&str], input: &str) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tool = root.join("target/tools/promtool");
    assert!(tool.exists(), "run: make setup");
    let mut running = Command::new(tool)
        .args(arguments)
        .current_dir(root.join("docs/observability"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    running.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    running.wait_with_output().unwrap()
}

#[test]
#[ignore = "needs promtool, which make test gets where it can"]
fn promtool_accepts_the_alerts() {
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let output = promtool(&arguments, "");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs promtool, which make test gets where it can"]
async fn promtool_accepts_the_metrics() {
    let gateway = Gateway::start(&[]);
    // Some series appear only after an event. The first child is killed, since an earlier one might still exist.
    let killed = async { send(gateway.child().await, rustix::process::Signal::KILL) };
    let (answer, ()) = tokio::join!(gateway.convert("output_format=fbx", "a.bvh", motion()), killed);
    assert_eq!(answer.status(), 200);
    assert_eq!(gateway.convert("output_format=glb", "a.obj", TRIANGLE.into()).await.status(), 200);
    let metrics = scrape(&gateway).await;
    for name in ["meshgate_conversions_total", "meshgate_engine_setbacks_total"] {
        assert!(metrics.contains(&format!("\n{name}{{")), "no {name} in {metrics}");
    }
    let output = promtool(&["check", "metrics"], &metrics);
    assert!(output.status.success(), "{}{metrics}", String::from_utf8_lossy(&output.stderr));
}
