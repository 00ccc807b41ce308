//! The command line as users see it: texts, exit codes, files.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use serde_json::Value;

fn meshgate(arguments: &[&str], folder: &Path) -> (i32, String, String) {
    let output = Command::cargo_bin("meshgate")
        .unwrap()
        .args(arguments)
        .current_dir(folder)
        .timeout(Duration::from_mins(1))
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn folder_with(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, TRIANGLE).unwrap();
    }
    folder
}

/// An OBJ of one triangle.
const TRIANGLE: &str = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n";

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn help_shows_an_example_and_every_flag() {
    let folder = folder_with(&[]);
    let (code, out, _) = meshgate(&["--help"], folder.path());
    assert_eq!(code, 0);
    for line in ["meshgate convert duck.fbx -o duck.glb", "meshgate serve", "meshgate worker"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let (code, out, _) = meshgate(&["convert", "--help"], folder.path());
    assert_eq!(code, 0);
    for flag in ["--packaging", "--animation", "--scale", "--triangulate", "--draco", "--engine", "--force"] {
        assert!(out.contains(flag), "{flag}");
    }
}

#[test]
fn argument_errors_are_one_line() {
    let folder = folder_with(&["a.obj"]);
    for (line, said) in [
        ("convert a.obj", "the following required arguments were not provided: --output <OUT>"),
        (
            "convert a.obj -o b.glb --scal 3",
            "unexpected argument '--scal' found; tip: a similar argument exists: '--scale'",
        ),
        ("convert a.obj -o b --to nope", "invalid value 'nope' for '--to <FORMAT>': unknown format: nope"),
        (
            "convert a.obj -o b.glb --scale big",
            "option scale takes a number from 0.000001 to 1000000, not \"big\"",
        ),
        ("frobnicate", "unrecognized subcommand 'frobnicate'"),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let (code, out, err) = meshgate(&arguments, folder.path());
        assert_eq!((code, out.as_str()), (64, ""), "{line}");
        assert_eq!(err, format!("meshgate: {said}; for more, try --help\n"), "{line}");
    }
    // Without arguments, the program prints the help.
    let (code, _, err) = meshgate(&[], folder.path());
    assert!(code == 64 && err.contains("\nCommands:\n"), "{code} {err}");
}

#[test]
fn formats_are_listed_as_text_and_json() {
    let folder = folder_with(&[]);
    let (code, out, _) = meshgate(&["formats"], folder.path());
    assert_eq!(code, 0);
    assert!(out.contains("Autodesk FBX") && out.contains("mesh: obj, stl"), "{out}");
    let (_, out, _) = meshgate(&["formats", "--json"], folder.path());
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["formats"].as_array().unwrap().len(), 15);
}

#[test]
fn wrong_usage_exits_64_with_one_line() {
    let folder = folder_with(&["a.obj", "b.obj", "empty/readme.txt"]);
    for (line, expected) in [
        ("fly", "fly"),
        ("convert", "<IN>"),
        ("convert a.obj", "--output"),
        ("convert a.obj -o a.glb --colour red", "--colour"),
        ("convert a.obj -o a.glb --scale 0", "option scale takes"),
        ("convert a.obj -o a.glb --draco=maybe", "option draco takes"),
        ("convert a.obj -o a.stl --draco", "option draco works for glb and gltf, not for stl"),
        ("convert a.obj -o a.dae", "\"dae\" is not a format"),
        ("convert a.obj -o out --to dae", "unknown format: dae"),
        ("convert a.obj -o out", "--to FORMAT"),
        ("convert a.obj b.obj -o x.glb", "give a folder"),
        ("convert c.obj -o c.glb", "c.obj"),
        ("convert a.obj -o a.glb --draco maybe", "could not open maybe"),
        ("convert empty -o out --to glb", "no model in the folder empty"),
        ("convert a.obj -o - --to glb --json", "--json"),
    ] {
        let (code, out, err) = meshgate(&line.split(' ').collect::<Vec<_>>(), folder.path());
        assert_eq!(code, 64, "{line}: {err}");
        assert!(err.contains(expected), "{line}: {err}");
        assert_eq!(out, "", "{line}");
    }
    assert_eq!(names(folder.path()), ["a.obj", "b.obj", "empty"]);
}

#[test]
fn an_unsupported_pair_says_why() {
    let folder = folder_with(&["a.obj"]);
    let (code, out, err) = meshgate(&["convert", "a.obj", "-o", "a.vrm"], folder.path());
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(err, "a.obj → a.vrm: an obj file has no skeleton (unsupported_pair)\n");
    assert_eq!(names(folder.path()), ["a.obj"]);
}

#[test]
fn an_unsupported_pair_is_skipped_among_several_formats() {
    let folder = folder_with(&["a.obj"]);
    let line = ["convert", "a.obj", "-o", "out", "--to", "vrm,bvh", "--json"];
    let (code, out, _) = meshgate(&line, folder.path());
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert_eq!(
            (line["outcome"].as_str(), line["code"].as_str()),
            (Some("skipped"), Some("unsupported_pair"))
        );
    }
    // Nothing was converted.
    assert_eq!(code, 1);
    assert_eq!(names(folder.path()), ["a.obj"]);
}

#[test]
fn existing_files_are_kept() {
    let folder = folder_with(&["a.obj", "a.glb", "out/a.glb"]);
    for (line, kept) in [("convert a.obj -o a.glb", "a.glb"), ("convert a.obj -o out --to glb", "out/a.glb")]
    {
        let (code, out, err) = meshgate(&line.split(' ').collect::<Vec<_>>(), folder.path());
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains(kept) && err.contains("--force") && err.contains("output_exists"), "{err}");
        assert_eq!(fs::read_to_string(folder.path().join(kept)).unwrap(), TRIANGLE);
    }
}

/// More bytes than a pipe holds: when all are written, the other end is reading.
const MUCH: usize = 1 << 20;

#[test]
fn ctrl_c_stops_at_once_and_leaves_no_files() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let folder = folder_with(&["tmp/.keep"]);
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("meshgate"))
            .args(["convert", "-", "-o", "out/a.glb"])
            .current_dir(folder.path())
            .env("TMPDIR", folder.path().join("tmp"))
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&vec![0; MUCH]).unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let asked = Instant::now();
        rustix::process::kill_process(pid, signal).unwrap();
        // Standard input stays open until the end.
        let status = child.wait().unwrap();
        let took = asked.elapsed();
        drop(stdin);
        assert_eq!(status.code(), Some(130), "{signal:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(names(folder.path()), ["tmp"]);
        assert_eq!(names(&folder.path().join("tmp")), [".keep"]);
    }
}

#[test]
fn a_closed_pipe_causes_no_panic() {
    let folder = folder_with(&[]);
    let program = assert_cmd::cargo::cargo_bin("meshgate");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = std::process::Command::new(program)
        .arg("formats")
        .current_dir(folder.path())
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}

#[test]
fn without_an_engine_the_doctor_says_how_to_get_one() {
    let folder = folder_with(&[]);
    let output = Command::cargo_bin("meshgate")
        .unwrap()
        .arg("doctor")
        .current_dir(folder.path())
        .env("BLENDER_PYTHON", "/nowhere/python")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("✗ engine: BLENDER_PYTHON") && text.contains("✓ work folder"), "{text}");
}

#[test]
fn engine_install_does_not_touch_an_unrelated_folder() {
    let folder = folder_with(&["mine/thesis.txt"]);
    let (code, _, err) = meshgate(&["engine", "install", "mine"], folder.path());
    assert_eq!(code, 1);
    assert!(err.contains("mine is not empty"), "{err}");
    // Python's venv would drop the missing part of the path, and clear the folder that remains.
    let (code, _, err) = meshgate(&["engine", "install", "none/../mine"], folder.path());
    assert_eq!(code, 1);
    assert!(err.contains("name it without .."), "{err}");
    assert!(folder.path().join("mine/thesis.txt").is_file());
}
