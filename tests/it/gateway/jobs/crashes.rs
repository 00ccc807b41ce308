//! Jobs survive the end of their server, and what their attempts lack.

use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use super::events::{Event, check, follow};
use super::{FAST, ONE_WORKER, REPACK, SLOW, assert_problem, data_dir, objects_of_jobs, path};
use crate::busy_engine::alive;
use crate::conversions::bad_input::run_python;
use crate::gateway::engine::{motion, send};
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, LONG, PAUSE, TRIANGLE, scrape, until};

/// Python code for a .blend of two cubes. One is thousands of cubes a thousand times, before a mask hides them all.
const CUBES: &str = r#"
import bpy, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_cube_add()
bpy.ops.mesh.primitive_cube_add()
cube = bpy.context.object
for count in (1000, THOUSANDS):
    cube.modifiers.new("array", "ARRAY").count = count
cube.vertex_groups.new(name="none")
cube.modifiers.new("mask", "MASK").vertex_group = "none"
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1])
"#;

/// A model whose conversion needs more than 1536 MiB of memory; with a million cubes, less than twice as much.
fn cubes(thousands: u32) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (script, model) = (folder.path().join("make.py"), folder.path().join("model.blend"));
    std::fs::write(&script, CUBES.replace("THOUSANDS", &thousands.to_string())).unwrap();
    run_python(&script, &model);
    std::fs::read(model).unwrap()
}

/// Why a job was queued again.
fn reasons(events: &[Event]) -> Vec<&str> {
    events.iter().filter_map(|event| event.data["reason"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_runs_out_of_memory_gets_twice_as_much_once() {
    let gateway = Gateway::start(&[ONE_WORKER, ("WORKER_MEMORY_LIMIT", "1536M")]);
    for (thousands, state, code) in
        [(1000, "succeeded", Value::Null), (5000, "failed", "memory_limit".into())]
    {
        let job = gateway.submit("output_format=glb&filename=a.blend", cubes(thousands)).await;
        let events = follow(&gateway, &job, None).await;
        check(&events, state);
        assert_eq!(reasons(&events), ["out_of_memory"], "{events:#?}");
        let job = gateway.ended(&job).await;
        assert_eq!((&job["attempts"], &job["error"]["code"]), (&2.into(), &code), "{job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_for_a_store_that_is_away() {
    let folder = tempfile::tempdir().unwrap();
    // Without an engine, it stays unfinished.
    let mut stopped = Gateway::start_cold(&[data_dir(&folder), ("BLENDER_PYTHON", "/bin/false")]);
    let job = stopped.submit(FAST, TRIANGLE).await;
    stopped.signal(Signal::TERM);
    assert_eq!(stopped.end().code(), Some(0));
    let (store, away) = (folder.path().join("store"), folder.path().join("away"));
    std::fs::rename(&store, &away).unwrap();

    let gateway = Gateway::start(&[data_dir(&folder), ONE_WORKER]);
    let began = Instant::now();
    let none = "meshgate_job_attempts_total{reason=\"store_unavailable\"} 0\n";
    while scrape(&gateway).await.contains(none) {
        assert!(began.elapsed() < LONG, "no attempt ends because of the store");
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(gateway.json(path(&job)).await["error"], Value::Null);
    // The server has begun a new store meanwhile.
    std::fs::create_dir_all(&store).unwrap();
    std::fs::rename(away.join("jobs"), store.join("jobs")).unwrap();
    let events = follow(&gateway, &job, None).await;
    check(&events, "succeeded");
    assert!(reasons(&events).contains(&"store_unavailable"), "{events:#?}");
    // None of these attempts counts.
    assert_eq!(gateway.succeeded(&job).await["attempts"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_for_a_store_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    // Without an engine, it stays unfinished.
    let mut stopped = Gateway::start_cold(&[data_dir(&folder), ("BLENDER_PYTHON", "/bin/false")]);
    let job = stopped.submit(FAST, TRIANGLE).await;
    stopped.signal(Signal::TERM);
    assert_eq!(stopped.end().code(), Some(0));
    let objects = objects_of_jobs(folder.path());
    let [model] = objects.as_slice() else { panic!("{objects:?}") };
    let away = folder.path().join("away");
    std::fs::rename(model, &away).unwrap();
    // Whoever opens a pipe waits until somebody writes to it.
    assert!(Command::new("mkfifo").arg(model).status().unwrap().success());

    let gateway = Gateway::start(&[data_dir(&folder), ONE_WORKER, ("CONVERSION_TIMEOUT", "8")]);
    let began = Instant::now();
    let none = "meshgate_job_attempts_total{reason=\"store_unavailable\"} 0\n";
    while scrape(&gateway).await.contains(none) {
        assert!(began.elapsed() < LONG, "no attempt ends because of the store");
        tokio::time::sleep(PAUSE).await;
    }
    std::fs::rename(&away, model).unwrap();
    let events = follow(&gateway, &job, None).await;
    check(&events, "succeeded");
    assert!(reasons(&events).contains(&"store_unavailable"), "{events:#?}");
    assert_eq!(gateway.succeeded(&job).await["attempts"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_survive_a_killed_server() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [data_dir(&folder), ONE_WORKER];
    let mut killed = Gateway::start(&variables);
    let running = killed.submit(SLOW, motion()).await;
    let child = killed.child().await;
    let models = [(SLOW, motion()), (FAST, TRIANGLE.into()), (REPACK, triangle())];
    let waiting = [killed.submit(FAST, TRIANGLE).await, killed.submit(REPACK, triangle()).await];
    for (place, job) in (1..).zip(&waiting) {
        let job = killed.json(path(job)).await;
        assert_eq!((&job["state"], &job["position"]), (&"queued".into(), &Value::from(place)), "{job}");
    }
    assert_eq!(killed.json(path(&running)).await["state"], "running");
    let processes = [killed.zygotes(), killed.converting(), vec![child]].concat();
    killed.signal(Signal::KILL);
    killed.end();
    until("no process of the old server is left", || !processes.iter().any(|pid| alive(*pid)));

    let gateway = Gateway::start(&variables);
    let [first, second] = &waiting;
    for (job, ((query, model), attempts)) in
        [&running, first, second].into_iter().zip(models.into_iter().zip([2, 1, 1]))
    {
        let job = gateway.succeeded(job).await;
        assert_eq!(job["attempts"], attempts, "{job}");
        assert!(gateway.result(&job).await == gateway.undisturbed(query, model).await, "{job}");
        check(&follow(&gateway, &job, None).await, "succeeded");
    }
    assert!(!objects_of_jobs(folder.path()).is_empty());
    for job in [&running, first, second] {
        assert_eq!(gateway.delete(path(job)).await.status(), 204);
        assert_problem(gateway.get(path(job)).await, 404, "not_found").await;
    }
    until("no object is left", || objects_of_jobs(folder.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_gives_its_job_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut stopped = Gateway::start(&[data_dir(&folder), ONE_WORKER, ("SHUTDOWN_GRACE", "0.5")]);
    let job = stopped.submit(SLOW, motion()).await;
    let child = stopped.child().await;
    // Otherwise the job might end within the grace.
    send(child, Signal::STOP);
    stopped.signal(Signal::TERM);
    assert_eq!(stopped.end().code(), Some(0));
    assert!(!alive(child));

    let gateway = Gateway::start(&[data_dir(&folder), ONE_WORKER]);
    let job = gateway.succeeded(&job).await;
    assert_eq!(job["attempts"], 1, "{job}");
    let events = follow(&gateway, &job, None).await;
    check(&events, "succeeded");
    // A lease that ended would have been another reason.
    assert_eq!(reasons(&events), ["stopping"], "{events:#?}");
    assert!(gateway.result(&job).await == gateway.undisturbed(SLOW, motion()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_gives_back_a_job_that_waits_for_a_slot() {
    let folder = tempfile::tempdir().unwrap();
    let mut stopped = Gateway::start(&[data_dir(&folder), ONE_WORKER, ("SHUTDOWN_GRACE", "0.5")]);
    let request = stopped.convert("output_format=fbx", "a.bvh", motion());
    let stop = async {
        // The request keeps the only slot.
        send(stopped.child().await, Signal::STOP);
        let job = stopped.submit(FAST, TRIANGLE).await;
        stopped.until_says(path(&job), "running", |job| job["state"] == "running").await;
        stopped.until_waiting(1).await;
        stopped.signal(Signal::TERM);
        job
    };
    let (answer, job) = tokio::join!(request, stop);
    assert_eq!(answer.status(), 503);
    assert_eq!(stopped.end().code(), Some(0));

    let gateway = Gateway::start(&[data_dir(&folder), ONE_WORKER]);
    assert_eq!(gateway.succeeded(&job).await["attempts"], 1);
    assert_eq!(reasons(&follow(&gateway, &job, None).await), ["stopping"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_within_the_grace_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let mut stopped = Gateway::start(&[data_dir(&folder), ONE_WORKER, ("SHUTDOWN_GRACE", "600")]);
    let job = stopped.submit(SLOW, motion()).await;
    stopped.child().await;
    let waiting = stopped.submit(REPACK, triangle()).await;
    stopped.signal(Signal::TERM);
    assert_eq!(stopped.end().code(), Some(0));

    let gateway = Gateway::start_cold(&[data_dir(&folder), ONE_WORKER]);
    // It needs no engine, and has ended before this server began.
    assert_eq!(gateway.json(path(&job)).await["state"], "succeeded");
    gateway.succeeded(&waiting).await;
}
