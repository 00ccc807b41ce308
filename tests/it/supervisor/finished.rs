//! The time between a child's report and its exit: the caller has its result, the slot is still in use.

use std::time::Duration;

use meshgate::domain::ErrorCode;
use rustix::process::Signal;

use super::harness::{Harness, Job, LONG, signal, until, zygote};
use crate::busy_engine::alive;

/// A zygote whose children finish at once and exit only on command.
const SLOW_TO_GO: &str = r#"
import json, os, socket, time
from pathlib import Path
from meshgate_engine.runtime import protocol

peer = socket.socket(fileno=os.dup(0))
report = {"outcome": "succeeded", "input": {}, "output": None, "importer": "none", "packed_textures": 0, "losses": [],
          "warnings": [], "import_ms": 0, "process_ms": 0, "export_ms": 0, "check_ms": 0}

def send(kind, **fields):
    peer.sendall(protocol.encode(kind, **fields))

protocol.receive(peer)
send("ready", protocol=protocol.VERSION, blender="5.0.1", vrm_addon="", sandbox_missing=[])
while True:
    command = protocol.receive(peer)
    if command is None:
        break
    if command["type"] != "convert":
        continue
    folder = Path(command["folder"])
    (folder / "out/result.stl").write_text("solid")
    (folder / "report.json").write_text(json.dumps(report))
    send("started", id=command["id"], pid=0)
    send("finished", id=command["id"])
    while not (folder / "in/go").exists():
        time.sleep(0.005)
    send("exited", id=command["id"], end={"how": "exit", "status": 0}, peak_memory_bytes=0, cpu_seconds=0.0,
         stage=None, log="")
"#;

fn slow_to_go() -> Harness {
    let mut harness = Harness::scripted(SLOW_TO_GO);
    harness.settings.workers = 1;
    harness
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_does_not_wait_for_child_exit() {
    let harness = slow_to_go();
    let blender = harness.start().await;
    let job = harness.job("cube");
    let done = job.run(&blender, LONG).await.unwrap();
    assert_eq!((done.success.importer.as_str(), done.retried_after), ("none", None));
    assert!(job.result().is_file());

    // The slot and the folder are still in use.
    assert_eq!(blender.stats().busy, 1);
    let next = harness.job("cube");
    let error = next.run(&blender, Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(error.detail, "no slot of the engine was free within 0.3 s");
    let folder = job.folder.path().to_owned();
    drop(job);
    assert!(folder.join("in").is_dir());

    std::fs::write(folder.join("in/go"), "").unwrap();
    until("its slot is free", LONG, || blender.stats().busy == 0).await;
    until("its folder is gone", LONG, || !folder.exists()).await;
    next.run(&blender, LONG).await.unwrap();
    next.go();
    blender.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zygote_killed_after_the_result_costs_no_conversion() {
    let harness = slow_to_go();
    let blender = harness.start().await;
    let jobs: Vec<Job> = (0..2).map(|_| harness.job("cube")).collect();
    jobs[0].run(&blender, LONG).await.unwrap();
    signal(zygote(&blender), Signal::KILL);
    jobs[1].run(&blender, LONG).await.unwrap();
    assert!(blender.stats().attempt_failures.is_empty(), "{:?}", blender.stats());
    jobs[1].go();
    blender.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_a_lingering_child() {
    let harness = slow_to_go();
    let blender = harness.start().await;
    let pid = zygote(&blender);
    harness.job("cube").run(&blender, LONG).await.unwrap();
    blender.shutdown().await;
    assert!(!alive(pid));
    until("its folder is gone", LONG, || harness.folders() == 0).await;
    assert_eq!(harness.job("cube").code(&blender, LONG).await, ErrorCode::EngineUnavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lingering_child_is_killed_to_free_its_slot() {
    let harness = slow_to_go();
    let blender = harness.start().await;
    let old = zygote(&blender);
    harness.job("cube").run(&blender, LONG).await.unwrap();
    let next = harness.job("cube");
    next.run(&blender, LONG).await.unwrap();
    assert!(!alive(old));
    next.go();
    until("its slot is free", LONG, || blender.stats().busy == 0).await;
    blender.shutdown().await;
}
