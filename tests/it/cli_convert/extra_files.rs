//! Files that a child leaves beside its result (`tests/engine/extra_files.py`): which of them reach the user's disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Desk, Ran, TRIANGLE};
use crate::busy_engine::engine;

/// A program like the engine's Python, but children of its zygotes leave extra files.
fn engine_with_extra_files(desk: &Desk) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/extra_files.py");
    let (python, script) = (engine().display().to_string(), script.display().to_string());
    let path = desk.path("python");
    let text = format!(
        r##"#!/bin/sh
case "$3" in *__main__.py*)
    code=$(printf %s "$3" | sed 's#"[^"]*/__main__.py"#"{script}"#')
    exec "{python}" "$1" "$2" "$code"
esac
exec "{python}" "$@"
"##
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

fn run(desk: &Desk, arguments: &[&str]) -> Ran {
    Ran::of(&desk.command(arguments).env("BLENDER_PYTHON", engine_with_extra_files(desk)).output().unwrap())
}

#[test]
fn unsafe_names_from_a_child_are_left_out() {
    let desk = Desk::new();
    desk.put("in/names.obj", TRIANGLE);
    // The first time converted, the second time from the store.
    for out in ["out", "again"] {
        let ran =
            run(&desk, &["convert", "in/names.obj", "-o", &format!("{out}/"), "--to", "obj"]).succeeded();
        assert_eq!(desk.files(out), ["names/FINE.png", "names/names.mtl", "names/names.obj"], "{}", ran.out);
        assert!(ran.out.contains("note left out of the result, since obj has no files"), "{}", ran.out);
        assert!(ran.out.contains(r#"".bashrc""#) && !ran.out.contains('\u{1b}'), "{}", ran.out);
    }
    // Files beside a result do not replace the user's own files.
    desk.put("home/.bashrc", "mine");
    run(&desk, &["convert", "in/names.obj", "-o", "home/x.obj", "--force"]).succeeded();
    assert_eq!(fs::read_to_string(desk.path("home/.bashrc")).unwrap(), "mine");
    assert_eq!(desk.files("home"), [".bashrc", "FINE.png", "x.mtl", "x.obj"]);

    run(&desk, &["convert", "in/names.obj", "-o", "out.zip", "--to", "obj"]).succeeded();
    let archive = zip::ZipArchive::new(fs::File::open(desk.path("out.zip")).unwrap()).unwrap();
    let names: Vec<_> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    assert_eq!(names, ["FINE.png", "names.mtl", "names.obj"]);

    // A format whose results are single files delivers no others.
    run(&desk, &["convert", "in/names.obj", "-o", "alone/", "--to", "stl"]).succeeded();
    assert_eq!(desk.files("alone"), ["names.stl"]);
}

#[test]
fn results_beyond_the_limits_are_refused() {
    let desk = Desk::new();
    for (name, detail) in [
        ("many", "more files than a result can have"),
        ("long_names", "or longer names"),
        ("deep", "or longer names"),
        ("sparse", "the result would be larger than 1024 MiB"),
    ] {
        desk.put(&format!("{name}.obj"), TRIANGLE);
        let ran = run(&desk, &["convert", &format!("{name}.obj"), "-o", "out/", "--to", "obj"]);
        assert_eq!(ran.code, Some(1), "{name}: {}", ran.out);
        assert!(ran.out.contains(detail) || ran.err.contains(detail), "{name}: {}{}", ran.out, ran.err);
        assert_eq!(desk.files("out"), [""; 0], "{name}");
    }
}
