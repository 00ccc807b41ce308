//! The first start: promise 6.

use std::time::{Duration, Instant};

use meshgate::executor::local::EngineError;
use meshgate::executor::local::locate::Engine;

use super::harness::{Harness, LONG, until, zygote};
use crate::busy_engine::alive;

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_engine_reports_its_error() {
    let broken = Harness::scripted("raise ImportError('libGL.so.1: cannot open shared object file')");
    let error = broken.try_start().await.err().unwrap();
    let said = error.to_string();
    assert!(matches!(error, EngineError::Exited { .. }), "{error:?}");
    assert!(said.ends_with("ImportError: libGL.so.1: cannot open shared object file"), "{said}");
    assert!(!said.contains('\n'), "{said}");
    // Clients see no paths.
    assert!(!error.public().contains('/'), "{}", error.public());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_can_report_that_it_is_broken() {
    let harness = Harness::scripted(
        "import sys\nsys.modules['bpy'] = None\nfrom meshgate_engine.runtime import zygote\nzygote.main(run=print)",
    );
    let error = harness.try_start().await.err().unwrap();
    assert!(matches!(error, EngineError::Broken { .. }), "{error:?}");
    assert!(error.to_string().contains("bpy"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_does_not_answer_is_killed() {
    let mut harness = Harness::scripted(
        "import os, sys, time\nprint('looking for a display', file=sys.stderr, flush=True)\n\
         open('pid', 'w').write(str(os.getpid()))\ntime.sleep(1e6)",
    );
    harness.settings.ready_within = Duration::from_secs(1);
    let began = Instant::now();
    let error = harness.try_start().await.err().unwrap();
    assert_eq!(error.to_string(), "the engine was not ready after 1 s: looking for a display");
    assert!(began.elapsed() < LONG);
    let pid = std::fs::read_to_string(harness.settings.work.path().join("pid")).unwrap().parse().unwrap();
    until("it is killed", LONG, || !alive(pid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unexpected_output_on_the_socket_is_refused() {
    let harness =
        Harness::scripted("import os\nos.write(0, b'Blender 5.0.1 (hash a3db93c5b259)')\nos.read(0, 1)");
    let error = harness.try_start().await.err().unwrap();
    assert!(matches!(error, EngineError::Protocol { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_an_engine_is_named() {
    let mut harness = Harness::new();
    harness.settings.engine = Engine::Python("/dev/null".into());
    let error = harness.try_start().await.err().unwrap().to_string();
    assert!(error.starts_with("could not start /dev/null: "), "{error}");
    harness.settings.engine = Engine::Python("/bin/false".into());
    let error = harness.try_start().await.err().unwrap().to_string();
    assert_eq!(error, "the engine does not start (exit status: 1), and printed nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_blender_gets_its_own_arguments() {
    use std::os::unix::fs::PermissionsExt;
    // Stands for a full Blender, which is not installed here: accepts its arguments and runs Python.
    let mut harness = Harness::new();
    let python = harness.settings.engine.program().display().to_string();
    let path = harness.base.path().join("blender");
    let script = format!(
        "#!/bin/sh\n[ \"$1 $2\" = '--background --factory-startup' ] || exit 3\n\
         while [ $# -gt 1 ]; do shift; [ \"$1\" = --python-expr ] && exec '{python}' -I -c \"$2\"; done\nexit 4\n"
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    harness.settings.engine = Engine::Blender(path);
    let blender = harness.start().await;
    harness.job("cube").run(&blender, LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_do_not_reach_the_engine() {
    let harness = Harness::new();
    let blender = harness.start().await;
    let environment = std::fs::read(format!("/proc/{}/environ", zygote(&blender))).unwrap();
    let mut names: Vec<String> = environment
        .split(|byte| *byte == 0)
        .filter(|entry| !entry.is_empty())
        .map(|entry| String::from_utf8_lossy(entry).split('=').next().unwrap_or_default().to_owned())
        .collect();
    names.sort();
    // This process has further variables.
    assert!(std::env::vars_os().any(|(name, _)| !names.iter().any(|passed| name == passed.as_str())));
    assert_eq!(names, ["BLENDER_VRM_AUTOMATIC_LICENSE_CONFIRMATION", "HOME", "LANG", "PATH", "TMPDIR"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_locked_while_in_use() {
    let harness = Harness::new();
    let blender = harness.start().await;
    let paths = std::fs::read_dir(harness.base.path()).unwrap().map(|entry| entry.unwrap().path());
    let package = paths.into_iter().find(|path| path.join("meshgate_engine").is_dir()).unwrap();
    let is_free = || std::fs::File::open(package.join("lock")).unwrap().try_lock().is_ok();
    assert!(!is_free());
    harness.job("cube").run(&blender, LONG).await.unwrap();
    assert!(!is_free());
    blender.shutdown().await;
    drop(blender);
    until("the lock is gone", LONG, is_free).await;
}
