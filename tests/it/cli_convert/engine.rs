//! The engine behind the command line: present, missing, broken, sandboxed, shared.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use super::{Desk, Ran, TRIANGLE, engine};

/// A self-contained glTF of one triangle.
const TRIANGLE_GLTF: &str = r#"{
  "asset": { "version": "2.0" },
  "scene": 0, "scenes": [{ "nodes": [0] }], "nodes": [{ "mesh": 0 }],
  "meshes": [{ "primitives": [{ "attributes": { "POSITION": 0 } }] }],
  "accessors": [
    { "bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0] }
  ],
  "bufferViews": [{ "buffer": 0, "byteLength": 36 }],
  "buffers": [{ "byteLength": 36, "uri":
    "data:application/octet-stream;base64,AAAAAAAAAAAAAAAAAACAPwAAAAAAAAAAAAAAAAAAgD8AAAAA" }]
}"#;

#[test]
fn without_an_engine_only_the_native_lane_works() {
    let desk = Desk::new();
    desk.put("a.obj", TRIANGLE);
    desk.put("a.gltf", TRIANGLE_GLTF);
    // Outside the project, since the program would find the project's engine.
    let program = desk.path("meshgate");
    fs::copy(assert_cmd::cargo::cargo_bin("meshgate"), &program).unwrap();
    let run = |arguments: &[&str]| {
        Ran::of(&desk.command_of(&program, arguments).env_remove("BLENDER_PYTHON").output().unwrap())
    };

    let ran = run(&["convert", "a.obj", "-o", "a.stl"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(
        ran.err,
        "a.obj → a.stl: no engine found: run `meshgate engine install`, or set BLENDER_PYTHON or BLENDER_BIN \
         (engine_unavailable)\n"
    );
    let ran = run(&["convert", "a.gltf", "-o", "b.glb"]).succeeded();
    assert!(ran.out.contains("native") && desk.is_glb("b.glb"), "{}", ran.out);
}

fn put_program(desk: &Desk, name: &str, script: &str) {
    desk.put(name, format!("#!/bin/sh\n{script}"));
    fs::set_permissions(desk.path(name), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_broken_engine_is_a_one_line_error() {
    let desk = Desk::new();
    desk.put("a.obj", TRIANGLE);
    put_program(&desk, "python", "echo \"ModuleNotFoundError: No module named 'bpy'\" >&2\nexit 1\n");
    for (python, expected) in [
        ("python", "No module named 'bpy'"),
        ("a.obj", "BLENDER_PYTHON is "),
        ("/nowhere/python", "BLENDER_PYTHON is /nowhere/python, which is not an executable file"),
    ] {
        let mut command = desk.command(&["convert", "a.obj", "-o", "a.glb"]);
        let ran = Ran::of(&command.env("BLENDER_PYTHON", python).output().unwrap());
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
        assert!(ran.err.contains(expected), "{}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert!(ran.err.ends_with("(engine_unavailable)\n"), "{}", ran.err);
    }
    assert!(!desk.path("a.glb").exists());
}

#[test]
fn settings_come_from_the_environment() {
    let desk = Desk::new();
    desk.put("a.obj", TRIANGLE);
    // An empty variable counts as unset, and this machine has the sandbox that production requires.
    let mut command = desk.command(&["convert", "a.obj", "-o", "a.glb"]);
    let command = command.envs([
        ("APP_ENV", "production"),
        ("SANDBOX", ""),
        ("WORKERS", "1"),
        ("WORKER_MEMORY_LIMIT", "3G"),
    ]);
    Ran::of(&command.output().unwrap()).succeeded();
    assert!(desk.is_glb("a.glb"));

    let mut command = desk.command(&["convert", "a.gltf", "-o", "b.glb"]);
    desk.put("a.gltf", TRIANGLE_GLTF);
    let ran = Ran::of(&command.env("MAX_UNPACKED_SIZE", "100").output().unwrap());
    assert!(ran.err.ends_with("(too_large)\n"), "{}", ran.err);
}

/// Writes a Python that simulates a kernel without landlock: the engine, started with `-I -c CODE`, finds it missing.
fn put_python_without_landlock(desk: &Desk) {
    let prelude = "import runpy
run_path = runpy.run_path
def run_without_landlock(*arguments, **named):
    from meshgate_engine.runtime import sandbox
    sandbox.missing = lambda program: [sandbox.LANDLOCK]
    return run_path(*arguments, **named)
runpy.run_path = run_without_landlock
";
    put_program(desk, "python", &format!("exec '{}' -I -c \"{prelude}$3\"\n", engine().display()));
}

#[test]
fn a_missing_part_of_the_sandbox_is_named_once() {
    let desk = Desk::new();
    put_python_without_landlock(&desk);
    for name in ["a.obj", "b.obj"] {
        desk.put(name, TRIANGLE);
    }
    let run = |sandbox: &str| {
        let mut command =
            desk.command(&["convert", "a.obj", "b.obj", "-o", "out", "--to", "glb,stl", "-j", "2"]);
        Ran::of(&command.env("BLENDER_PYTHON", "./python").env("SANDBOX", sandbox).output().unwrap())
    };
    let ran = run("require");
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.out.contains("sandbox is required, and this machine lacks landlock"), "{}", ran.out);
    assert!(!desk.path("out").exists());

    let ran = run("auto").succeeded();
    assert_eq!(ran.said().len(), 1, "{}", ran.err);
    assert!(ran.err.contains("WARN") && ran.err.contains("this machine lacks landlock"), "{}", ran.err);
    assert_eq!(desk.files("out").len(), 4);
}

#[test]
fn wrong_settings_exit_64_with_one_line_each() {
    let desk = Desk::new();
    desk.put("a.obj", TRIANGLE);
    let wrong = [
        ("APP_ENV", "prod"),
        ("SANDBOX", "maybe"),
        ("WORKER_MEMORY_LIMIT", "64M"),
        ("WORKER_MAX_REQUESTS", "0"),
        ("MAX_UNPACKED_SIZE", "-1"),
        ("WORKERS", "many"),
        ("CONVERSION_TIMEOUT", "soon"),
    ];
    let mut command = desk.command(&["convert", "a.obj", "-o", "a.glb"]);
    let ran = Ran::of(&command.envs(wrong).output().unwrap());
    assert_eq!((ran.code, ran.out.as_str()), (Some(64), ""), "{}", ran.err);
    let lines: Vec<_> = ran.err.lines().collect();
    assert_eq!(lines.len(), wrong.len(), "{}", ran.err);
    for (line, (name, value)) in lines.iter().zip(wrong) {
        assert!(line.starts_with(&format!("meshgate: {name}")) && line.contains(value), "{line}");
    }
    let mut command = desk.command(&["doctor"]);
    let ran = Ran::of(&command.env("LOG_LEVEL", "meshgate=loud").output().unwrap());
    assert_eq!(ran.code, Some(64));
    assert!(ran.err.starts_with("meshgate: LOG_LEVEL takes ") && ran.err.lines().count() == 1, "{}", ran.err);
}

#[test]
fn two_processes_share_a_data_folder() {
    let desk = Desk::new();
    desk.put("a.obj", TRIANGLE);
    let start = |output: &str| {
        let mut command = desk.command(&["convert", "a.obj", "-o", output]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [start("one.glb"), start("two.glb")];
    for child in both {
        Ran::of(&child.wait_with_output().unwrap()).succeeded();
    }
    assert!(desk.is_glb("one.glb") && desk.is_glb("two.glb"));
    assert_eq!(desk.run_folders(), 0);
}
