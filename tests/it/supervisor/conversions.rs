//! Slots, timeouts, cancellations, crashes and hangs: promises 1 to 3.

use std::time::{Duration, Instant};

use meshgate::domain::{ErrorCode, Format, Purpose};
use meshgate::domain::{SandboxMode, Stage};
use meshgate::executor::EngineRequest;
use meshgate::executor::stats::AttemptFailure;

use super::harness::{A_SECOND, Harness, Job, LONG, until};
use crate::busy_engine::alive;

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_converted() {
    let harness = Harness::new();
    let blender = harness.start().await;
    assert!(blender.version().blender.starts_with("5."), "{:?}", blender.version());
    let job = harness.job("cube");
    let mut stages = Vec::new();
    let progress = Box::new(|stage, fraction| stages.push((stage, fraction)));
    let request = EngineRequest { progress, ..job.engine_request(LONG, |_| ()) };
    let done = blender.convert(request).await.unwrap();
    assert_eq!(done.success.input.objects, 1);
    assert_eq!(done.retried_after, None);
    assert!(std::fs::metadata(job.result()).unwrap().len() > 84);
    // Of progress reports in quick succession, only the last is certain to arrive.
    assert_eq!(stages.last(), Some(&(Stage::Exporting, Some(0.5))));
    blender.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freed_slot_is_used_at_once() {
    let mut harness = Harness::new();
    harness.settings.workers = 2;
    let blender = harness.start().await;
    let (first, second, third) = (harness.job("wait"), harness.job("wait"), harness.job("cube"));
    let first_run = first.begin(&blender).await;
    let second_run = second.begin(&blender).await;
    let mut third_run = Box::pin(third.run(&blender, LONG));

    // The third conversion waits while both slots are taken.
    let early = tokio::time::timeout(Duration::from_millis(300), &mut third_run).await;
    assert!(early.is_err(), "{early:?}");
    let stats = blender.stats();
    assert_eq!((stats.slots, stats.busy, stats.waiting), (2, 2, 1));
    assert!(!third.folder.path().join("in/pid").exists());

    first.go();
    first_run.run.await.unwrap();
    let done = third_run.await.unwrap();
    assert!(done.queue >= Duration::from_millis(300), "{done:?}");
    // The second conversion still runs: the third took the first one's slot.
    assert!(alive(second_run.pid));
    second.go();
    second_run.run.await.unwrap();
    until("the slots are free", A_SECOND, || (blender.stats().busy, blender.stats().waiting) == (0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_covers_waiting_for_a_slot() {
    let mut harness = Harness::new();
    harness.settings.workers = 1;
    let blender = harness.start().await;
    let busy = harness.job("wait");
    let running = busy.begin(&blender).await;
    let job = harness.job("cube");
    let error = job.run(&blender, Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout);
    assert_eq!(error.detail, "no slot of the engine was free within 0.1 s");
    assert_eq!(blender.stats().waiting, 0);
    busy.go();
    running.run.await.unwrap();
    // The cancelled conversion is gone from the queue.
    job.run(&blender, LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_slot_takes_no_time_of_a_job() {
    let mut harness = Harness::new();
    harness.settings.workers = 1;
    let blender = harness.start().await;
    let busy = harness.job("wait");
    let running = busy.begin(&blender).await;
    let mut job = harness.job("burn");
    job.purpose = Purpose::Job { memory_factor: 1 };
    let allowed = Duration::from_millis(400);
    let mut run = Box::pin(job.run(&blender, allowed));
    let early = tokio::time::timeout(2 * allowed, &mut run).await;
    assert!(early.is_err(), "{early:?}");
    busy.go();
    running.run.await.unwrap();
    // Its time begins with its slot.
    let error = run.await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout);
    assert_eq!(error.detail, "the conversion took longer than 0.4 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_kills_the_child() {
    let harness = Harness::new();
    let blender = harness.start().await;
    let job = harness.job("burn");
    let began = Instant::now();
    let error = job.run(&blender, Duration::from_millis(400)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout);
    assert_eq!(error.detail, "the conversion took longer than 0.4 s");
    assert!(began.elapsed() < Duration::from_millis(400) + A_SECOND, "{:?}", began.elapsed());
    assert!(!alive(job.pid("pid")));
    harness.job("cube").run(&blender, LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_future_kills_the_whole_session() {
    let mut harness = Harness::new();
    // In the sandbox, children cannot start processes.
    harness.settings.sandbox = SandboxMode::Off;
    harness.settings.workers = 1;
    let blender = harness.start().await;
    let job = harness.job("family");
    let running = job.begin(&blender).await;
    until("the descendant lives", LONG, || job.folder.path().join("in/descendant").exists()).await;
    let (pid, descendant) = (running.pid, job.pid("descendant"));
    assert!(alive(pid) && alive(descendant));
    let zygote = blender.stats().zygote;

    drop(running);
    drop(job);
    until("the session is gone", A_SECOND, || !alive(pid) && !alive(descendant)).await;
    until("its folder is gone", A_SECOND, || harness.folders() == 0).await;
    until("its slot is free", A_SECOND, || blender.stats().busy == 0).await;
    harness.job("cube").run(&blender, LONG).await.unwrap();
    assert_eq!(blender.stats().zygote, zygote, "the zygote is still the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_retried_in_a_fresh_process() {
    let harness = Harness::new();
    let blender = harness.start().await;
    let zygote = blender.stats().zygote;
    let job = harness.job("crash_once");
    let done = job.run(&blender, LONG).await.unwrap();
    assert_eq!(done.retried_after, Some(AttemptFailure::Crash));
    assert!(job.result().is_file());

    // After a second crash, the conversion fails.
    let error = harness.job("crash").run(&blender, LONG).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::EngineCrashed);
    assert_eq!(error.detail, "blender crashed while importing this model, in a fresh process too");
    // Exiting without a report is a crash, too.
    assert_eq!(harness.job("exit").code(&blender, LONG).await, ErrorCode::EngineCrashed);

    let stats = blender.stats();
    assert_eq!(stats.attempt_failures[&(Format::Obj, Format::Stl)].crashes, 5);
    assert_eq!(stats.zygote, zygote, "the warm zygote is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_importing_fbx_tries_the_other_importer() {
    let harness = Harness::new();
    let blender = harness.start().await;
    let mut job = harness.job("crash_usual");
    job.task.input_format = Format::Fbx;
    let done = job.run(&blender, LONG).await.unwrap();
    assert_eq!(done.success.importer, "other");
    let mut job = harness.job("crash_exporting");
    job.task.input_format = Format::Fbx;
    let done = job.run(&blender, LONG).await.unwrap();
    assert_eq!(done.success.importer, "wm.obj_import");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_is_retried_long_before_the_timeout() {
    let harness = Harness::new();
    let blender = harness.start().await;
    let done = harness.job("hang_once").run(&blender, LONG).await.unwrap();
    assert_eq!(done.retried_after, Some(AttemptFailure::Hang));
    let began = Instant::now();
    let error = harness.job("hang").run(&blender, LONG).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::EngineCrashed);
    assert_eq!(error.detail, "blender hung while importing this model, in a fresh process too");
    assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
    assert_eq!(blender.stats().attempt_failures[&(Format::Obj, Format::Stl)].hangs, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_respects_the_remaining_time() {
    let mut harness = Harness::new();
    harness.settings.hang_after = Duration::from_millis(800);
    let blender = harness.start().await;
    let job = harness.job("hang");
    let began = Instant::now();
    // Long enough for the first attempt to count as hung, but not the second.
    let error = job.run(&blender, Duration::from_millis(1500)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout);
    assert!(began.elapsed() < Duration::from_millis(1500) + A_SECOND, "{:?}", began.elapsed());
    assert_eq!(blender.stats().attempt_failures[&(Format::Obj, Format::Stl)].hangs, 1);
    assert!(!alive(job.pid("pid")));
}

#[tokio::test(flavor = "multi_thread")]
async fn exceeded_limits_and_refused_models_are_not_retried() {
    let mut harness = Harness::new();
    harness.settings.memory_bytes = 2 << 30;
    harness.settings.cpu_seconds = Some(4);
    let blender = harness.start().await;
    assert_eq!(harness.job("allocate").code(&blender, LONG).await, ErrorCode::MemoryLimit);
    let error = harness.job("swallow").run(&blender, LONG).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::MemoryLimit);
    assert_eq!(error.detail, "the conversion needs more than the 2048 MiB of memory it may use");
    assert_eq!(harness.job("burn").code(&blender, LONG).await, ErrorCode::Timeout);
    let error = harness.job("refuse").run(&blender, LONG).await.unwrap_err();
    assert_eq!((error.code, error.detail.as_str()), (ErrorCode::EmptyModel, "the model has no object"));
    assert_eq!(harness.job("lie").code(&blender, LONG).await, ErrorCode::ExportFailed);
    assert!(blender.stats().attempt_failures.is_empty(), "{:?}", blender.stats());
    harness.job("cube").run(&blender, LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_use_more_memory_alone() {
    let mut harness = Harness::new();
    harness.settings.workers = 2;
    harness.settings.memory_bytes = 2 << 30;
    let blender = harness.start().await;
    let with_more = |fault: &str| Job { purpose: Purpose::Job { memory_factor: 2 }, ..harness.job(fault) };
    assert_eq!(harness.job("roomy").code(&blender, LONG).await, ErrorCode::MemoryLimit);
    with_more("roomy").run(&blender, LONG).await.unwrap();

    // A second one waits for the first, although there is a slot.
    let (first, second) = (with_more("wait"), with_more("cube"));
    let running = first.begin(&blender).await;
    let mut run = Box::pin(second.run(&blender, LONG));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut run).await;
    assert!(early.is_err(), "{early:?}");
    harness.job("cube").run(&blender, LONG).await.unwrap();
    first.go();
    running.run.await.unwrap();
    run.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_output_of_a_child_are_not_trusted() {
    let mut harness = Harness::new();
    harness.settings.sandbox = SandboxMode::Off;
    let blender = harness.start().await;
    assert_eq!(harness.job("linked").code(&blender, LONG).await, ErrorCode::ExportFailed);
    // Printed text does not enter the protocol's pipe, and its size is bounded.
    harness.job("print").run(&blender, LONG).await.unwrap();
}
