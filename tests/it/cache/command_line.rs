//! `meshgate convert` beside a service on the same store.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::{cache_status, complete_files, conversion};
use crate::gateway::{Gateway, TRIANGLE, until};
use crate::storage::backend::noise;

fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshgate"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("DATA_DIR", data);
    command.args(["convert", "--force", "--json"]).args(arguments);
    command
}

/// Converts with `--json` and returns the report.
fn convert(data: &Path, arguments: &[&str]) -> Value {
    let output = command(data, arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let line: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    line["report"].clone()
}

fn entries(data: &Path) -> usize {
    complete_files(&data.join("store/entries")).len()
}

/// The name and content of every file below a folder.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = complete_files(folder)
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_repeated_conversion_is_served_from_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let data = folder.path().join("data");
    fs::write(at("a.obj"), format!("mtllib a.mtl\nusemtl m\n{TRIANGLE}")).unwrap();
    fs::write(at("a.mtl"), "newmtl m\nKd 1 0 0\n").unwrap();
    // A result of several files, in its own folder.
    fs::create_dir(at("one")).unwrap();
    fs::create_dir(at("two")).unwrap();
    let first = convert(&data, &[&at("a.obj"), "-o", &at("one"), "--to", "obj"]);
    assert_eq!(entries(&data), 1);
    let again = convert(&data, &[&at("a.obj"), "-o", &at("two"), "--to", "obj"]);
    // Equal to the last digit of the timings: it is the report of the same conversion.
    assert_eq!(first, again);
    let files = content(&folder.path().join("one"));
    assert!(files.len() > 1, "{files:?}");
    assert_eq!(files, content(&folder.path().join("two")));

    // Files that the model refers to are part of the identity; other files beside it are not.
    fs::write(at("other.png"), "x").unwrap();
    assert_eq!(convert(&data, &[&at("a.obj"), "-o", &at("two"), "--to", "obj"]), first);
    fs::write(at("a.mtl"), "newmtl m\nKd 0 1 0\n").unwrap();
    assert_ne!(convert(&data, &[&at("a.obj"), "-o", &at("two"), "--to", "obj"]), first);
    assert_eq!(entries(&data), 2);
    fs::write(at("a.mtl"), "newmtl m\nKd 1 0 0\n").unwrap();
    assert_eq!(convert(&data, &[&at("a.obj"), "-o", &at("two"), "--to", "obj"]), first);

    // Damaged results and deleted reports are converted again.
    for blob in complete_files(&data.join("store/blobs")) {
        fs::write(blob, "poison").unwrap();
    }
    let fresh = convert(&data, &[&at("a.obj"), "-o", &at("two"), "--to", "obj"]);
    assert_ne!(fresh, first);
    assert_eq!(content(&folder.path().join("one")), content(&folder.path().join("two")));
    for report in complete_files(&data.join("store/reports")) {
        fs::remove_file(report).unwrap();
    }
    assert_ne!(convert(&data, &[&at("a.obj"), "-o", &at("two"), "--to", "obj"]), fresh);
}

#[test]
fn the_no_cache_flag_bypasses_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let data = folder.path().join("data");
    fs::write(at("a.obj"), TRIANGLE).unwrap();
    let arguments = [&at("a.obj"), "-o", &at("a.stl")];
    let arguments = arguments.map(|argument| argument as &str);
    let first = convert(&data, &[&arguments[..], &["--no-cache"]].concat());
    assert_eq!(entries(&data), 0);
    let second = convert(&data, &arguments);
    assert_ne!(first, second);
    assert_ne!(convert(&data, &[&arguments[..], &["--no-cache"]].concat()), second);
    assert_eq!(convert(&data, &arguments), second);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_and_the_server_share_the_cache() {
    let gateway = Gateway::start(&[]);
    let data = gateway.folder.path();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let answer = conversion(&gateway).send().await.unwrap();
    let file = answer.bytes().await.unwrap();
    until("it is stored", || entries(data) == 1);
    fs::write(at("a.obj"), TRIANGLE).unwrap();
    convert(data, &[&at("a.obj"), "-o", &at("x.stl")]);
    assert_eq!((entries(data), fs::read(at("x.stl")).unwrap()), (1, file.to_vec()));

    fs::write(at("b.obj"), TRIANGLE).unwrap();
    convert(data, &[&at("b.obj"), "-o", &at("b.stl")]);
    let url = gateway.url("/convert?output_format=stl&filename=b.obj");
    let answer =
        gateway.client.post(url).timeout(Duration::from_mins(1)).body(TRIANGLE).send().await.unwrap();
    assert_eq!(cache_status(&answer), "hit");
}

/// Writes models that need no engine into a folder, each with this many bytes of unique content.
fn models(folder: &Path, number: u8, bytes: usize) -> Vec<String> {
    let paths = (0..number).map(|number| {
        let path = folder.join(format!("{number}.gltf")).to_str().unwrap().to_owned();
        let document = json!({
            "asset": { "version": "2.0", "extras": noise(number.into(), bytes / 4) },
            "scene": 0, "scenes": [{ "nodes": [0] }], "nodes": [{ "mesh": 0 }],
            "meshes": [{ "primitives": [{ "attributes": { "POSITION": 0 } }] }],
            "accessors": [{ "bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3",
                "min": [0, 0, 0], "max": [0, 0, 0] }],
            "bufferViews": [{ "buffer": 0, "byteLength": 36 }],
            "buffers": [{ "byteLength": 36, "uri": format!("data:application/octet-stream;base64,{}", "A".repeat(48)) }],
        });
        fs::write(&path, document.to_string()).unwrap();
        path
    });
    paths.collect()
}

fn kept_bytes(data: &Path) -> u64 {
    let kept = ["blobs", "reports", "entries"].map(|folder| complete_files(&data.join("store").join(folder)));
    kept.iter().flatten().map(|path| fs::metadata(path).unwrap().len()).sum()
}

#[test]
fn the_command_line_keeps_the_store_within_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let out = folder.path().join("out.glb");
    let blobs = || complete_files(&data.join("store/blobs")).len();
    let run = |model: &str, settings: &[(&str, &str)]| {
        let arguments = [model, "-o", out.to_str().unwrap()];
        let done = command(&data, &arguments).envs(settings.iter().copied()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success() && said.is_empty(), "{said}");
    };
    let models = models(folder.path(), 7, 100_000);
    let mut most = 0;
    for model in &models {
        run(model, &[("DATA_MAX_SIZE", "200K")]);
        assert!(kept_bytes(&data) <= 200 << 10, "{}", kept_bytes(&data));
        most = most.max(blobs());
    }
    assert!(most > 0, "results that fit are kept");

    // A run sweeps only after some time: expired results stay until a sweep is due.
    let set_age = |path: &Path, age| {
        fs::File::open(path).unwrap().set_modified(std::time::SystemTime::now() - age).unwrap();
    };
    let day = Duration::from_hours(25);
    let aged = complete_files(&data.join("store/blobs"));
    for path in &aged {
        set_age(path, day);
    }
    run(&models[0], &[]);
    assert!(aged.iter().all(|path| path.exists()));
    set_age(&data.join("store/swept"), Duration::from_hours(2));
    run(&models[1], &[]);
    assert!(aged.iter().all(|path| !path.exists()));
}

#[test]
fn a_failing_store_is_one_warning_and_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("store"), "a file in the way").unwrap();
    let models = models(folder.path(), 3, 100);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let arguments: Vec<&str> = models.iter().map(String::as_str).collect();
    let arguments = [&arguments[..], &["-o", out.to_str().unwrap(), "--to", "glb"]].concat();
    let done = command(&data, &arguments).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    assert_eq!(complete_files(&out).len(), 3);
    assert!(said.lines().count() == 1 && said.contains("warning: the store fails"), "{said}");
    assert!(said.contains("Not a directory"), "{said}");
    // With --no-cache, the store is not used, so there is no warning.
    let done = command(&data, &[&arguments[..], &["--no-cache"]].concat()).output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty());
}
