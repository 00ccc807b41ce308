//! Clients that disconnect, and engines that crash, are missing or do not start.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::engine::{motion, send};
use super::metrics::until_starts_failed;
use super::raw::{GET_LIVE, head};
use super::{Gateway, PROGRAM, TRIANGLE, report, until, until_no_folder_is_left};
use crate::busy_engine::alive;

const FBX: &str = "output_format=fbx";

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_cancels_the_conversion() {
    let gateway = Gateway::start(&[("WORKERS", "1")]);
    let model = motion();
    // Alone, and followed by another request: in the same write, in a later one, and split over both.
    for (same, later) in [("", ""), (GET_LIVE, ""), ("", GET_LIVE), (&GET_LIVE[..9], &GET_LIVE[9..])] {
        let mut raw = gateway.raw();
        let head = head("output_format=fbx&filename=a.bvh", model.len());
        raw.send([head.as_bytes(), &model, same.as_bytes()].concat());
        let child = gateway.child().await;
        // Otherwise the conversion might end first.
        send(child, Signal::STOP);
        raw.send(later);
        drop(raw);
        let hung_up = Instant::now();
        until("the child is gone", || !alive(child));
        // The promise is one second; a busy machine gets another.
        assert!(hung_up.elapsed() < Duration::from_secs(2), "{:?}", hung_up.elapsed());
        until_no_folder_is_left(&gateway);
        // The log line follows as soon as the gateway notices.
        let line = gateway.wait_for("code=cancelled");
        assert!(line.contains("status=499"), "{line}");
        gateway.until_idle().await;
    }
    let mut raw = gateway.raw();
    let answer =
        raw.send(head("output_format=fbx&filename=a.obj", TRIANGLE.len())).send(TRIANGLE).answer().unwrap();
    assert_eq!(answer.status, 200, "the slot is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn conversions_survive_a_killed_child_or_zygote() {
    let gateway = Gateway::start(&[("CACHE", "off")]);
    for zygote in [false, true] {
        gateway.until_idle().await;
        let kill = async {
            let child = gateway.child().await;
            send(child, Signal::STOP);
            for pid in if zygote { gateway.zygotes() } else { vec![child] } {
                send(pid, Signal::KILL);
            }
        };
        let (answer, ()) = tokio::join!(gateway.convert(FBX, "a.bvh", motion()), kill);
        assert_eq!(answer.status(), 200);
        let report = gateway.json(&report(&answer)).await;
        let warnings = report["warnings"].to_string();
        assert!(warnings.contains("a fresh one converted it"), "{warnings}");
    }
    until_no_folder_is_left(&gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_engine_is_logged_with_the_fix() {
    let away = tempfile::tempdir().unwrap();
    // Outside the project, since the program would find the project's engine.
    let program = away.path().join("meshgate");
    std::fs::copy(PROGRAM, &program).unwrap();
    let mut command = Command::new(program);
    command.arg("serve").current_dir(away.path()).env("HOME", away.path());
    for name in ["BLENDER_PYTHON", "BLENDER_BIN", "XDG_DATA_HOME"] {
        command.env_remove(name);
    }
    let gateway = Gateway::start_by(command, &[]);
    let line = gateway.wait_for("there is no engine");
    assert!(line.contains("ERROR") && line.contains("run `meshgate engine install`"), "{line}");
    gateway.until_says("/readyz", "down", |ready| ready["checks"]["engine"] == "not running").await;
    // The alert needs repeated failures.
    until_starts_failed(&gateway, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_engine_is_logged_and_started_again() {
    let bin = tempfile::tempdir().unwrap();
    let python = bin.path().join("python");
    let write = |content: &str| {
        // Replaced atomically, since it may be started at any time.
        let new = bin.path().join("new");
        std::fs::write(&new, format!("#!/bin/sh\n{content}\n")).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&new, &python).unwrap();
    };
    write("echo broken >&2; exit 3");
    let gateway = Gateway::start_cold(&[
        ("BLENDER_PYTHON", python.to_str().unwrap()),
        // The sandbox would not allow a wrapper outside the engine's folder.
        ("SANDBOX", "off"),
    ]);
    gateway.wait_for("the engine does not start");
    // The state changes after the log line.
    gateway.until_says("/readyz", "down", |ready| ready["checks"]["engine"] != "starting").await;
    let ready = gateway.client.get(gateway.url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.json::<serde_json::Value>().await.unwrap()["checks"]["engine"], "not running");
    assert_eq!(gateway.client.get(gateway.url("/livez")).send().await.unwrap().status(), 200);
    assert_eq!(gateway.json("/health").await["status"], "degraded");
    until_starts_failed(&gateway, 2).await;

    // Refused before the body if the engine is certainly needed, otherwise after it.
    let refused = gateway.raw().send(head(FBX, 1_000_000)).answer().unwrap();
    assert_eq!((refused.status, &refused.json()["code"]), (503, &"engine_unavailable".into()));
    assert!(refused.header("retry-after").is_some());
    let said = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(!said.contains('/') && !said.contains("broken"), "{said}");
    let refused = gateway.convert("output_format=glb", "a.obj", TRIANGLE.into()).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));

    let real = std::path::absolute(concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/python")).unwrap();
    write(&format!("exec {} \"$@\"", real.display()));
    gateway.wait_for("the engine is warm");
    assert_eq!(gateway.client.get(gateway.url("/readyz")).send().await.unwrap().status(), 200);
    assert_eq!(gateway.convert(FBX, "a.obj", TRIANGLE.into()).await.status(), 200);
}
