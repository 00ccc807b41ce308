//! Replacement of zygotes: promise 4.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use meshgate::domain::{ConversionError, ErrorCode, Format};
use meshgate::executor::stats::{AttemptFailure, RestartReason};
use meshgate::executor::task::CompletedTask;
use rustix::process::Signal;

use super::harness::{A_SECOND, Harness, LONG, script, signal, until, zygote};
use crate::busy_engine::{alive, children};

#[tokio::test(flavor = "multi_thread")]
async fn a_worn_zygote_is_replaced_without_delay() {
    let mut harness = Harness::new();
    harness.settings.max_requests = 2;
    let blender = harness.start().await;
    let old = zygote(&blender);
    let long = harness.job("wait");
    let running = long.begin(&blender).await;
    // The second conversion reaches the zygote's limit. It serves until its successor is warm.
    harness.job("cube").run(&blender, LONG).await.unwrap();
    let mut served = 0;
    while zygote(&blender) == old {
        harness.job("cube").run(&blender, LONG).await.unwrap();
        served += 1;
        assert!(served < 2000, "the zygote is never replaced");
    }
    assert!(served > 0, "conversions waited for the next zygote");
    assert_eq!(blender.stats().restarts[&RestartReason::Recycled], 1);

    // The old zygote stays until its running conversion ends.
    assert!(alive(old) && alive(running.pid));
    long.go();
    running.run.await.unwrap();
    until("the old zygote exits", LONG, || !alive(old)).await;
    harness.job("cube").run(&blender, LONG).await.unwrap();
    assert!(!blender.stats().restarts.contains_key(&RestartReason::Died));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_zygote_is_replaced_and_its_conversions_run_again() {
    let harness = Harness::new();
    let blender = harness.start().await;
    let job = harness.job("wait");
    let mut running = job.begin(&blender).await;
    let old = zygote(&blender);
    signal(old, Signal::KILL);
    until("the child dies with its zygote", A_SECOND, || !alive(running.pid)).await;
    job.go();
    let done = (&mut running.run).await.unwrap();
    assert_eq!(done.retried_after, Some(AttemptFailure::EngineLost));
    assert_ne!(zygote(&blender), old);
    assert_eq!(blender.stats().restarts[&RestartReason::Died], 1);

    // An idle zygote that dies is replaced, too.
    let old = zygote(&blender);
    signal(old, Signal::KILL);
    until("another zygote runs", LONG, || blender.stats().zygote.is_some_and(|pid| pid.cast_signed() != old))
        .await;
    harness.job("cube").run(&blender, LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_that_loses_its_zygote_twice_is_not_the_models_fault() {
    let harness = Harness::new();
    let blender = harness.start().await;
    let job = harness.job("wait");
    let mut running = job.begin(&blender).await;
    let first = running.pid;
    signal(zygote(&blender), Signal::KILL);
    let again = until_pid_changes(&job, first, &mut running.run).await;
    assert!(alive(again));
    // The zygote that runs the conversion; a successor may be warm by now.
    signal(parent(again), Signal::KILL);
    let error = running.run.await.unwrap_err();
    assert_eq!(error.code, ErrorCode::EngineUnavailable);
    assert_eq!(error.detail, "blender went down twice during this conversion; try again");
    assert!(error.is_engine_lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_killed_from_outside_is_not_the_models_fault() {
    let harness = Harness::new();
    let blender = harness.start().await;
    let mut job = harness.job("wait");
    job.task.input_format = Format::Fbx;
    let mut running = job.begin(&blender).await;
    let first = running.pid;
    signal(first, Signal::KILL);
    let again = until_pid_changes(&job, first, &mut running.run).await;
    job.go();
    let done = running.run.await.unwrap();
    assert_eq!(done.retried_after, Some(AttemptFailure::Crash));
    assert_eq!(done.success.importer, "wm.obj_import", "the other importer may read the model differently");
    assert!(!alive(again));

    let job = harness.job("wait");
    let mut running = job.begin(&blender).await;
    let first = running.pid;
    signal(first, Signal::KILL);
    let again = until_pid_changes(&job, first, &mut running.run).await;
    signal(again, Signal::KILL);
    let error = running.run.await.unwrap_err();
    assert_eq!(error.code, ErrorCode::EngineCrashed);
    assert!(error.detail.contains("most likely the machine ran out of memory"), "{error}");
    assert!(error.is_engine_lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zygote_that_dies_while_it_starts_leaves_no_files() {
    let harness = Harness::new();
    let blender = harness.start().await;
    let old = zygote(&blender);
    let starting = || {
        let entries = std::fs::read_dir(harness.settings.work.path()).unwrap().map(Result::unwrap);
        entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.path()).next()
    };
    assert_eq!(starting(), None);
    signal(old, Signal::KILL);
    let has_files = |path: PathBuf| std::fs::read_dir(path).is_ok_and(|mut files| files.next().is_some());
    until("its successor makes temporary files", LONG, || starting().is_some_and(has_files)).await;
    // Tests run in one process; only this one's zygotes are in its folder.
    let is_here = |pid: &i32| {
        std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == harness.settings.work.path())
    };
    let successors: Vec<i32> =
        children(&[std::process::id().cast_signed()]).into_iter().filter(is_here).collect();
    assert!(!successors.is_empty());
    for successor in successors {
        signal(successor, Signal::KILL);
    }
    until("nothing is left of it", LONG, || {
        let running = blender.stats().zygote.is_some_and(|pid| alive(pid.cast_signed()));
        running && starting().is_none()
    })
    .await;
}

fn parent(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

async fn until_pid_changes(
    job: &super::harness::Job,
    first: i32,
    run: &mut (impl Future<Output = Result<CompletedTask, ConversionError>> + Unpin),
) -> i32 {
    let path = job.folder.path().join("in/pid");
    let pid = || std::fs::read_to_string(&path).ok().and_then(|text| text.parse().ok()).unwrap_or(first);
    tokio::select! {
        result = run => panic!("it ended: {result:?}"),
        _ = until("the conversion runs again", LONG, || pid() != first) => pid(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zygote_that_does_not_start_conversions_is_replaced() {
    let mut harness = Harness::new();
    harness.settings.start_within = Duration::from_millis(500);
    let blender = harness.start().await;
    let old = zygote(&blender);
    signal(old, Signal::STOP);
    let done = harness.job("cube").run(&blender, LONG).await.unwrap();
    assert_eq!(done.retried_after, Some(AttemptFailure::EngineLost));
    assert!(!alive(old));
    assert_eq!(blender.stats().restarts[&RestartReason::Unresponsive], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zygote_that_does_not_cancel_is_replaced() {
    let harness = Harness::new();
    let blender = harness.start().await;
    let job = harness.job("wait");
    let running = job.begin(&blender).await;
    let (old, child) = (zygote(&blender), running.pid);
    signal(old, Signal::STOP);
    drop(running);
    until("zygote and child are gone", A_SECOND, || !alive(old) && !alive(child)).await;
    harness.job("cube").run(&blender, LONG).await.unwrap();
    assert_eq!(blender.stats().restarts[&RestartReason::Unresponsive], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_engine_starts_fail_fast_and_recover() {
    let faulty = script("faulty.py");
    let mut harness = Harness::new();
    let (entry, flag) = (harness.base.path().join("entry.py"), harness.base.path().join("broken"));
    let source = format!(
        "import os, runpy\nif os.path.exists({flag:?}):\n    raise OSError('the library is gone')\n\
         runpy.run_path({faulty:?}, run_name='__main__')\n"
    );
    std::fs::write(&entry, source).unwrap();
    harness.settings.entry = Some(entry);
    let blender = harness.start().await;
    let job = harness.job("wait");
    let running = job.begin(&blender).await;
    std::fs::write(&flag, "").unwrap();
    signal(zygote(&blender), Signal::KILL);

    // The running conversion fails, and later ones are refused at once.
    let error = running.run.await.unwrap_err();
    assert_eq!(error.code, ErrorCode::EngineUnavailable);
    assert_eq!(error.detail, "no engine is running: the engine does not start (exit status: 1)");
    assert!(!error.is_engine_lost);
    let began = Instant::now();
    assert_eq!(harness.job("cube").code(&blender, LONG).await, ErrorCode::EngineUnavailable);
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
    let stats = blender.stats();
    assert!(!stats.available && stats.failed_starts >= 1 && stats.zygote.is_none(), "{stats:?}");

    std::fs::remove_file(&flag).unwrap();
    until("the engine recovers", LONG, || blender.stats().available).await;
    harness.job("cube").run(&blender, LONG).await.unwrap();
}
