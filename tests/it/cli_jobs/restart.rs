//! A server that is killed and started again while its job is watched.

use std::time::Instant;

use rustix::process::Signal;

use super::{Desk, Ran};
use crate::gateway::engine::motion;
use crate::gateway::{Gateway, LONG, PAUSE, scrape};

/// Waits until a stream of events has begun.
async fn until_followed(gateway: &Gateway) {
    let line = "meshgate_http_requests_total{method=\"GET\",route=\"/v1/jobs/{id}/events\",status=\"200\"} ";
    let began = Instant::now();
    while !scrape(gateway).await.lines().any(|each| each.starts_with(line)) {
        assert!(began.elapsed() < LONG, "nobody follows the job");
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_survives_the_restart_of_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = ("DATA_DIR", folder.path().to_str().unwrap());
    let mut killed = Gateway::start(&[data, ("WORKERS", "1")]);
    let address = killed.address.clone();
    let desk = Desk::with("walk.bvh", motion());
    let id = desk.run(&address, "submit walk.bvh --to glb --json").succeeded().id();
    // The job cannot end at this server.
    let held = killed.hold().await;
    let watching = desk.start(&address, &format!("watch {id} --json"));
    until_followed(&killed).await;
    killed.signal(Signal::KILL);
    killed.end();
    drop(held);

    let bind = address.strip_prefix("http://").unwrap();
    let gateway = Gateway::start(&[data, ("WORKERS", "1"), ("BIND_ADDRESS", bind)]);
    assert_eq!(gateway.address, address);
    let ran = Ran::of(&watching.wait_with_output().unwrap()).succeeded();
    let [job] = &ran.json()[..] else { panic!("{ran:?}") };
    assert_eq!((&job["state"], &job["attempts"]), (&"succeeded".into(), &2.into()), "{ran:?}");
    assert!(job["report"].is_object(), "{ran:?}");
    until_followed(&gateway).await;
    desk.run(&address, &format!("get {id}")).succeeded();
    assert!(desk.read("walk.glb").starts_with(b"glTF"));
}
