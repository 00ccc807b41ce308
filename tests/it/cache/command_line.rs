//! `meshgate convert` beside a service on the same store.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{conversion, how, whole};
use crate::gateway::{Gateway, TRIANGLE, until};

/// Converts, and gives the report.
fn convert(data: &Path, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_meshgate"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("DATA_DIR", data)
        .args(["convert", "--force", "--json"])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let line: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    line["report"].clone()
}

fn entries(data: &Path) -> usize {
    whole(&data.join("store/entries")).len()
}

/// Every file below a folder, with its name.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = whole(folder)
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
fn it_does_not_convert_twice_and_gives_all_files_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let data = folder.path().join("data");
    fs::write(at("a.obj"), format!("mtllib a.mtl\nusemtl m\n{TRIANGLE}")).unwrap();
    fs::write(at("a.mtl"), "newmtl m\nKd 1 0 0\n").unwrap();
    // A result of several files, in a folder of its own.
    fs::create_dir(at("one")).unwrap();
    fs::create_dir(at("two")).unwrap();
    let first = convert(&data, &[&at("a.obj"), "-o", &at("one"), "--to", "obj"]);
    assert_eq!(entries(&data), 1);
    let again = convert(&data, &[&at("a.obj"), "-o", &at("two"), "--to", "obj"]);
    // To the last digit of its times: it is the same conversion.
    assert_eq!(first, again);
    let files = content(&folder.path().join("one"));
    assert!(files.len() > 1, "{files:?}");
    assert_eq!(files, content(&folder.path().join("two")));

    // What it refers to counts, and what lies around it does not.
    fs::write(at("other.png"), "x").unwrap();
    assert_eq!(convert(&data, &[&at("a.obj"), "-o", &at("two"), "--to", "obj"]), first);
    fs::write(at("a.mtl"), "newmtl m\nKd 0 1 0\n").unwrap();
    assert_ne!(convert(&data, &[&at("a.obj"), "-o", &at("two"), "--to", "obj"]), first);
    assert_eq!(entries(&data), 2);
    fs::write(at("a.mtl"), "newmtl m\nKd 1 0 0\n").unwrap();
    assert_eq!(convert(&data, &[&at("a.obj"), "-o", &at("two"), "--to", "obj"]), first);

    // What is gone is made again.
    for blob in whole(&data.join("store/blobs")) {
        fs::write(blob, "poison").unwrap();
    }
    let fresh = convert(&data, &[&at("a.obj"), "-o", &at("two"), "--to", "obj"]);
    assert_ne!(fresh, first);
    assert_eq!(content(&folder.path().join("one")), content(&folder.path().join("two")));
    for report in whole(&data.join("store/reports")) {
        fs::remove_file(report).unwrap();
    }
    assert_ne!(convert(&data, &[&at("a.obj"), "-o", &at("two"), "--to", "obj"]), fresh);
}

#[test]
fn it_may_be_told_to_convert_and_to_remember_nothing() {
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
async fn it_and_a_service_know_the_same() {
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
    assert_eq!(how(&answer), "hit");
}
