//! Jobs on a real server.

use rustix::process::Signal;
use serde_json::Value;

use super::Desk;
use crate::gateway::engine::{motion, send};
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, example};

#[test]
fn a_job_is_submitted_watched_and_written() {
    let gateway = Gateway::start_cold(&[]);
    let desk = Desk::with("duck.glb", triangle());
    let ran = desk.run(&gateway.address, "submit duck.glb --to gltf --watch -o out/it.gltf").succeeded();
    let lines: Vec<_> = ran.out.lines().collect();
    let (id, url) = lines[0].split_once("  ").unwrap();
    assert_eq!(url, gateway.url(&format!("/v1/jobs/{id}")));
    assert!(lines[1].starts_with("duck.glb → out/it.gltf  ") && lines[1].ends_with("  native"), "{ran:?}");
    assert!(lines[2].starts_with("  in   1 mesh, 1 triangle"), "{ran:?}");
    assert_eq!(lines[4], "  lost nothing");
    // Without a terminal, standard error stays empty.
    assert!(ran.said().is_empty(), "{ran:?}");
    let written = desk.read("out/it.gltf");
    assert!(serde_json::from_slice::<Value>(&written).unwrap()["meshes"].is_array());

    // Nothing is submitted in vain.
    let again = desk.run(&gateway.address, "submit duck.glb --to gltf --watch -o out/it.gltf");
    again.failed(&["out/it.gltf exists; --force replaces it"]);
    assert_eq!(desk.run(&gateway.address, "list --json").json().len(), 1);
    let forced = desk.run(&gateway.address, "submit duck.glb --to gltf --watch -o out/it.gltf --force");
    forced.succeeded();

    // A result is waited for.
    let ran = desk.run(&gateway.address, "submit duck.glb --to gltf -o -").succeeded();
    assert_eq!(ran.out.as_bytes(), written);
    assert!(ran.err.contains("duck.glb → -  ") && ran.err.ends_with("  lost nothing\n"), "{ran:?}");
}

#[test]
fn several_files_are_one_model() {
    let gateway = Gateway::start(&[]);
    let desk = Desk::new();
    for name in ["crate.obj", "crate.mtl", "crate wood.png"] {
        desk.put(&name.replace(' ', "_"), example(&format!("crate/{name}")));
    }
    let words = "submit crate.obj crate.mtl crate_wood.png --to glb --scale 2 --watch --json";
    let [job] = &desk.run(&gateway.address, words).succeeded().json()[..] else { panic!("not one job") };
    assert_eq!((&job["state"], &job["options"]["scale"]), (&"succeeded".into(), &2.0.into()));
    assert_eq!(
        (&job["report"]["input"]["files"], &job["result"]["file_name"]),
        (&3.into(), &"crate.glb".into())
    );
}

#[test]
fn jobs_are_watched_listed_and_downloaded() {
    let gateway = Gateway::start_cold(&[]);
    let desk = Desk::with("duck.glb", triangle());
    let run = |words: &str| desk.run(&gateway.address, words);
    let ids = [0, 1, 2].map(|_| run("submit duck.glb --to gltf --priority low --json").succeeded().id());
    let ran = run(&format!("watch {}", ids.join(" "))).succeeded();
    for id in &ids {
        assert!(ran.out.contains(&format!("{id}  duck.glb → duck.gltf  ")), "{ran:?}");
    }
    assert_eq!(ran.out.matches("lost nothing").count(), 3, "{ran:?}");

    let listed = run("list --json").succeeded().json();
    let newest: Vec<_> = listed.iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(newest, [&ids[2], &ids[1], &ids[0]]);
    let table = run("list --limit 2 --state succeeded").succeeded();
    assert!(table.out.contains(&ids[2]) && table.out.contains(&ids[1]), "{table:?}");
    assert!(
        !table.out.contains(&ids[0])
            && table.out.contains("There are more; --limit 10 lists up to 10 of them."),
        "{table:?}"
    );
    assert_eq!(run("list --state queued").succeeded().out, "no jobs\n");

    let [id, ..] = &ids;
    let ran = run(&format!("get {id}")).succeeded();
    assert!(ran.out.starts_with("duck.gltf  "), "{ran:?}");
    run(&format!("get {id}")).failed(&["duck.gltf exists; --force replaces it"]);
    run(&format!("get {id} --force")).succeeded();
    let ran = run(&format!("get {id} -o sub/folder/")).succeeded();
    assert!(ran.out.starts_with("sub/folder/duck.gltf  "), "{ran:?}");
    let printed = run(&format!("get {id} -o -")).succeeded();
    assert_eq!(printed.out.as_bytes(), desk.read("duck.gltf"));
    assert_eq!(desk.read("sub/folder/duck.gltf"), desk.read("duck.gltf"));
    assert_eq!(desk.names(), ["duck.glb", "duck.gltf", "sub"]);

    let [job] = &run(&format!("get {id} --json")).succeeded().json()[..] else { panic!("not one job") };
    assert_eq!((&job["id"], &job["priority"]), (&id.as_str().into(), &"low".into()));
    assert_eq!(job["report"]["output"]["triangles"], 1);
}

#[test]
fn the_same_key_makes_one_job() {
    let gateway = Gateway::start_cold(&[]);
    let desk = Desk::with("duck.glb", triangle());
    let submit = |key: &str| {
        let words = format!("submit duck.glb --to gltf --idempotency-key {key} --json");
        desk.run(&gateway.address, &words).succeeded().id()
    };
    let id = submit("one");
    assert_eq!(submit("one"), id);
    assert_ne!(submit("two"), id);
    let other = desk.run(&gateway.address, "submit duck.glb --to glb --idempotency-key one");
    other.failed(&["(idempotency_key_reused, request "]);
}

#[test]
fn a_job_that_fails_has_the_exit_code_of_a_failed_conversion() {
    let gateway = Gateway::start_cold(&[]);
    let desk = Desk::with("bad.glb", "no model at all");
    let ran = desk.run(&gateway.address, "submit bad.glb --to gltf --watch -o out.gltf");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    // Only the line with the ID is on standard output.
    assert_eq!(ran.out.lines().count(), 1, "{ran:?}");
    assert!(ran.err.starts_with("bad.glb → gltf: ") && ran.err.ends_with(" (unknown_format)\n"), "{ran:?}");
    assert_eq!(desk.names(), ["bad.glb"]);

    let id = ran.out.split(' ').next().unwrap();
    let good = Desk::with("duck.glb", triangle());
    let other = good.run(&gateway.address, "submit duck.glb --to gltf --json").succeeded().id();
    let ran = good.run(&gateway.address, &format!("watch {id} {other} --json"));
    assert_eq!((ran.code, ran.json().len()), (Some(1), 2), "{ran:?}");
    good.run(&gateway.address, &format!("get {id}")).failed(&["(unknown_format, request "]);
    let listed = good.run(&gateway.address, "list --state failed").succeeded();
    assert!(listed.out.contains(id) && listed.out.contains("unknown_format"), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_cancelled() {
    let gateway = Gateway::start(&[("WORKERS", "1")]);
    let desk = Desk::with("duck.glb", triangle());
    desk.put("walk.bvh", motion());
    let run = |words: &str| desk.run(&gateway.address, words);
    let running = run("submit walk.bvh --to glb --json").succeeded().id();
    // Otherwise the job might end first.
    send(gateway.child().await, Signal::STOP);
    let queued = run("submit duck.glb --to gltf --json").succeeded().id();
    let watching = desk.start(&gateway.address, &format!("watch {queued}"));
    run(&format!("get {queued}")).failed(&[
        "the job has not ended",
        "meshgate jobs watch",
        "job_not_finished",
    ]);

    assert_eq!(run(&format!("cancel {queued}")).succeeded().out, format!("{queued}  cancelled\n"));
    assert_eq!(run(&format!("cancel {queued}")).succeeded().out, format!("{queued}  cancelled\n"));
    let watched = super::Ran::of(&watching.wait_with_output().unwrap());
    assert_eq!((watched.code, watched.out.as_str()), (Some(1), ""), "{watched:?}");
    assert!(watched.err.ends_with("duck.glb → gltf: cancelled\n"), "{watched:?}");
    run(&format!("get {queued}")).failed(&["wrong_job_state"]);

    assert_eq!(run(&format!("cancel {running}")).succeeded().out, format!("{running}  is being cancelled\n"));
    let ran = run(&format!("watch {running} --json"));
    assert_eq!((ran.code, &ran.json()[0]["state"]), (Some(1), &"cancelled".into()), "{ran:?}");

    let done = run("submit duck.glb --to gltf --watch --json").succeeded().id();
    run(&format!("cancel {done}")).failed(&["had ended before: succeeded"]);
}
