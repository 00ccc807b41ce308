//! A disk that is full while a model is received, and while a result is written.

use std::fmt::Write as _;

use super::raw::Problem;
use super::{Gateway, TRIANGLE, until};
use crate::mounts::Mounted;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the right to mount a disk; make test runs it where it has that"]
async fn a_full_disk_gets_507_and_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Mounted::new(folder.path(), 6 << 20);
    // Cached results would need no room.
    let gateway = Gateway::start(&[("DATA_DIR", disk.0.to_str().unwrap()), ("CACHE", "off")]);
    let works = async || {
        assert_eq!(gateway.convert("output_format=stl", "a.obj", TRIANGLE.into()).await.status(), 200);
    };
    works().await;

    // The upload does not fit.
    let large = format!("{TRIANGLE}#{}", "x".repeat(8 << 20));
    for path in ["/convert", "/v1/convert"] {
        let url = gateway.url(&format!("{path}?output_format=stl&filename=a.obj"));
        let answer = gateway.client.post(url).body(large.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 507);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let Problem(_, code, _) = Problem::of(507, &answer.bytes().await.unwrap());
        assert_eq!(code, "disk_full");
        works().await;
    }

    // The upload fits, but its result does not.
    let mut grid = String::new();
    for x in 0..20_000 {
        writeln!(grid, "v {x} 0 0\nv {x} 1 0\nv {x} 0 1\nf -1 -2 -3").unwrap();
    }
    let rest = disk.0.join("rest");
    let file = std::fs::File::create(&rest).unwrap();
    let used = 5 << 19;
    let _ = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, (6 << 20) - used);
    let answer = gateway.convert("output_format=usda", "a.obj", grid.clone().into()).await;
    assert_eq!(answer.status(), 507);
    std::fs::remove_file(&rest).unwrap();
    works().await;
    until("no folder", || {
        let work = std::fs::read_dir(disk.0.join("work")).unwrap().map(|entry| entry.unwrap().path());
        let runs = work.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("run-"));
        let folders = runs.flat_map(|run| std::fs::read_dir(run).unwrap());
        folders
            .filter(|entry| {
                uuid::Uuid::try_parse(&entry.as_ref().unwrap().file_name().to_string_lossy()).is_ok()
            })
            .count()
            == 0
    });
    drop(gateway);
    drop(disk);
}
