//! Every log line of a request has its ID, on standard output and in the file.

use std::io::Read;

use serde_json::Value;

use super::{Gateway, TRIANGLE};

/// A binary FBX with a valid header and a broken rest.
fn broken_fbx() -> Vec<u8> {
    [b"Kaydara FBX Binary  \0\x1a\0\xe8\x1c\0\0".as_slice(), &[7; 500]].concat()
}

async fn convert(gateway: &Gateway, id: &str, name: &str, content: Vec<u8>) -> reqwest::Response {
    let address = gateway.url(&format!("/convert?output_format=glb&filename={name}"));
    gateway.client.post(address).header("x-request-id", id).body(content).send().await.unwrap()
}

fn number_of(line: &Value) -> Option<&str> {
    line["spans"].as_array()?.iter().find_map(|span| span["request_id"].as_str())
}

#[tokio::test]
async fn log_lines_are_json_with_the_request_id() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log/gateway.log");
    let mut gateway = Gateway::start(&[("LOG_FORMAT", "json"), ("LOG_FILE", file.to_str().unwrap())]);
    let answer = convert(&gateway, "it-fails-1", "a.fbx", broken_fbx()).await;
    assert_eq!(answer.status(), 422);
    let body = answer.bytes().await.unwrap();
    gateway.client.get(gateway.url("/livez")).send().await.unwrap();
    let answer = convert(&gateway, "it-works-2", "a.obj", TRIANGLE.into()).await;
    let sent = answer.bytes().await.unwrap().len();
    gateway.wait_for("it-works-2");
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.end().success());

    let names: Vec<_> =
        std::fs::read_dir(folder.path().join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [path] = names.as_slice() else { panic!("{names:?}") };
    let name = path.file_name().unwrap().to_str().unwrap();
    let day = name.strip_prefix("gateway.").and_then(|rest| rest.strip_suffix(".log")).unwrap();
    assert_eq!(day.split('-').map(str::len).collect::<Vec<_>>(), [4, 2, 2], "{name}");

    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["message"], "stopped");
    let access: Vec<&Value> = lines.iter().filter(|line| line["target"] == "meshgate::access").collect();
    let [failed, worked] = access.as_slice() else { panic!("{access:?}") };
    assert_eq!((number_of(failed), number_of(worked)), (Some("it-fails-1"), Some("it-works-2")));
    for (name, value) in [
        ("method", Value::from("POST")),
        ("route", Value::from("/convert")),
        ("path", Value::from("/convert")),
        ("status", Value::from(422)),
        ("code", Value::from("import_failed")),
        ("bytes_in", Value::from(broken_fbx().len())),
        ("bytes_out", Value::from(body.len())),
    ] {
        assert_eq!(failed[name], value, "{name} of {failed}");
    }
    assert!(failed["ms"].as_f64().unwrap() > 0.0);
    assert_eq!(failed["client"], "127.0.0.1", "{failed}");
    assert_eq!((&worked["status"], &worked["bytes_out"]), (&Value::from(200), &Value::from(sent)));
    assert_eq!((&worked["cut"], &worked["code"]), (&Value::Null, &Value::Null));

    // Blender's output is logged with the same request ID, for the operator only.
    let printed = lines.iter().find(|line| line["message"] == "Blender output").unwrap();
    assert_eq!((number_of(printed), &printed["level"]), (Some("it-fails-1"), &Value::from("WARN")));
    let said = printed["log"].as_str().unwrap();
    assert!(said.contains("Failed to load"), "{said}");
    assert!(!String::from_utf8_lossy(&body).contains("Failed to load"));
}

#[tokio::test]
async fn old_logs_are_removed_and_other_files_kept() {
    let folder = tempfile::tempdir().unwrap();
    let others = ["messages", "mail.err", "m.1", "m.2020-01-01.log"];
    for name in others.iter().chain(&["m.2020-01-01", "m.2020-01-02"]) {
        std::fs::write(folder.path().join(name), "kept").unwrap();
    }
    let file = folder.path().join("m");
    let mut gateway = Gateway::start_cold(&[("LOG_FILE", file.to_str().unwrap()), ("LOG_FILES", "2")]);
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.end().success());
    for name in others {
        assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), b"kept", "{name}");
    }
    assert!(!folder.path().join("m.2020-01-01").exists());
    // One older log is kept, beside today's.
    assert!(folder.path().join("m.2020-01-02").exists());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), others.len() + 2);
}

#[tokio::test]
async fn a_log_filter_keeps_the_request_id() {
    let filter = "off,meshgate::cli=info,meshgate::executor=warn,meshgate::access=debug";
    let gateway = Gateway::start(&[("LOG_LEVEL", filter)]);
    let answer = convert(&gateway, "some/number:3", "a.fbx", broken_fbx()).await;
    assert_eq!(answer.status(), 422);
    let line = gateway.wait_for("Blender output");
    assert!(line.contains("request{request_id=\"some/number:3\"}"), "{line}");
    let line = gateway.wait_for("answered");
    assert!(line.contains("request{request_id=\"some/number:3\"}"), "{line}");
    // Probes are logged at more verbose levels.
    gateway.client.get(gateway.url("/livez")).send().await.unwrap();
    let line = gateway.wait_for("/livez");
    assert!(line.contains("DEBUG") && line.contains("status=200"), "{line}");
}

/// A glb of one mesh with this many triangles, too large for the buffers of a connection.
fn large_glb(triangles: usize) -> Vec<u8> {
    let vertices = triangles * 3;
    let bytes = vertices * 12;
    let json = format!(
        r#"{{"asset":{{"version":"2.0"}},"buffers":[{{"byteLength":{bytes}}}],
        "bufferViews":[{{"buffer":0,"byteLength":{bytes}}}],
        "accessors":[{{"bufferView":0,"componentType":5126,"count":{vertices},"type":"VEC3","min":[0,0,0],"max":[1,1,0]}}],
        "meshes":[{{"primitives":[{{"attributes":{{"POSITION":0}}}}]}}],
        "nodes":[{{"mesh":0}}],"scenes":[{{"nodes":[0]}}],"scene":0}}"#
    );
    let json = format!("{json:<width$}", width = json.len().next_multiple_of(4));
    let triangle: Vec<u8> =
        [0.0_f32, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0].iter().flat_map(|at| at.to_le_bytes()).collect();
    let mut glb = b"glTF".to_vec();
    let words = [2, 12 + 8 + json.len() + 8 + bytes, json.len()];
    glb.extend(words.iter().flat_map(|word| u32::try_from(*word).unwrap().to_le_bytes()));
    glb.extend(b"JSON");
    glb.extend(json.as_bytes());
    glb.extend(u32::try_from(bytes).unwrap().to_le_bytes());
    glb.extend(b"BIN\0");
    glb.extend(triangle.repeat(triangles));
    glb
}

#[tokio::test]
async fn an_incomplete_response_is_logged() {
    let gateway = Gateway::start_cold(&[]);
    let model = large_glb(400_000);
    let mut raw = gateway.raw();
    let head = format!(
        "POST /convert?output_format=gltf&packaging=single&filename=a.glb HTTP/1.1\r\nhost: x\r\n\
         x-request-id: gone-4\r\ncontent-length: {}\r\n\r\n",
        model.len()
    );
    raw.send(&head).send(&model);
    // More than the headers, so that the body has begun.
    let mut begin = [0; 16 << 10];
    raw.stream.read_exact(&mut begin).unwrap();
    assert!(begin.starts_with(b"HTTP/1.1 200"));
    // The client disconnects before most of the response is sent.
    drop(raw);
    let line = gateway.wait_for("gone-4");
    assert!(line.contains("status=200") && line.contains("cut=true"), "{line}");
    assert!(line.contains(&format!("bytes_in={}", model.len())), "{line}");
    let sent: usize = line.split_once("bytes_out=").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!((1..model.len()).contains(&sent), "{line}");

    // A response that is read to the end does not count as aborted.
    let mut raw = gateway.raw();
    let answer = raw.send(head.replace("gone-4", "taken-5")).send(&model).answer().unwrap();
    let line = gateway.wait_for("taken-5");
    assert!(line.contains(&format!("bytes_out={}", answer.body.len())) && !line.contains("cut="), "{line}");
    assert!(line.contains("timing=\"receive;dur="), "{line}");
}

/// Operator errors are logged as errors, with their reason.
#[tokio::test(flavor = "multi_thread")]
async fn server_errors_are_logged_with_their_reason() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&[("DATA_DIR", data.path().to_str().unwrap()), ("CACHE", "off")]);
    let work = data.path().join("work");
    std::fs::rename(&work, data.path().join("away")).unwrap();
    std::fs::write(&work, "").unwrap();
    let model = format!("{TRIANGLE}#{}", "x".repeat(2 << 20));
    let answer = gateway.convert("output_format=stl", "a.obj", model.into()).await;
    assert_eq!(answer.status(), 500);
    let line = gateway.wait_for("code=io");
    assert!(line.contains("ERROR") && line.contains("could not write the upload: Not a directory"), "{line}");
    std::fs::remove_file(&work).unwrap();
    std::fs::rename(data.path().join("away"), &work).unwrap();
    assert_eq!(gateway.convert("output_format=stl", "a.obj", TRIANGLE.into()).await.status(), 200);
}
