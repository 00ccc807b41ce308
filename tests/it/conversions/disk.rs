//! A full disk has its own error code, and conversions work again when there is room.

use std::time::Duration;

use std::fmt::Write as _;

use meshgate::domain::{ErrorCode, Format};

use super::Fixture;
use super::bad_input::CUBE;
use crate::busy_engine::conversions_below;
use crate::mounts::Mounted;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the right to mount a disk; make test runs it where it has that"]
async fn a_full_disk_is_reported_and_survived() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Mounted::new(&folder.path().join("work"), 6 << 20);
    let fixture = Fixture::in_folder(folder);
    let cube = fixture.put("cube.obj", CUBE);
    fixture.convert(&cube, Format::Stl).await.unwrap();

    // The model itself does not fit.
    let large = fixture.put("large.obj", format!("{CUBE}#{}", "x".repeat(8 << 20)));
    let error = fixture.convert(&large, Format::Stl).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::DiskFull, "{error}");
    fixture.convert(&cube, Format::Stl).await.unwrap();

    // The model fits, but its result does not.
    let mut grid = String::new();
    for x in 0..20_000 {
        writeln!(grid, "v {x} 0 0\nv {x} 1 0\nv {x} 0 1\nf -1 -2 -3").unwrap();
    }
    let grid = fixture.put("grid.obj", grid);
    for target in
        [Format::Stl, Format::Glb, Format::Ply, Format::Fbx, Format::Usda, Format::Abc, Format::Blend]
    {
        let rest = std::fs::File::create(disk.0.join("rest")).unwrap();
        // Fills the disk, except for the model and a little more.
        let used = 2 << 20;
        let _ = rustix::fs::fallocate(&rest, rustix::fs::FallocateFlags::empty(), 0, (6 << 20) - used);
        if let Ok(conversion) = fixture.convert(&grid, target).await {
            assert!(conversion.report.output.bytes < used, "{target}: {:?}", conversion.report.output);
        } else {
            let error = fixture.convert(&grid, target).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::DiskFull, "{target}: {error}");
        }
        std::fs::remove_file(disk.0.join("rest")).unwrap();
        // The child exits and the folder goes a moment after the result.
        while !conversions_below(&disk.0).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fixture.convert(&cube, target).await.unwrap_or_else(|error| panic!("{target}, with room: {error}"));
    }
    fixture.converter.executor().shutdown().await;
    drop(fixture);
    drop(disk);
}
