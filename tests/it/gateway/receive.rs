//! Request bodies: the ways to send models, and errors in bodies.

use std::io::Write;

use serde_json::json;

use super::raw::{MULTIPART, Problem, file, head, multipart, post};
use super::{Gateway, PAUSE, TRIANGLE, example, until, until_no_folder_is_left};

/// A triangle as glb; its conversion to gltf needs no engine.
pub fn triangle() -> Vec<u8> {
    let document = json!({
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": 36}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3",
            "min": [0, 0, 0], "max": [1, 1, 0]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "nodes": [{"mesh": 0}], "scenes": [{"nodes": [0]}], "scene": 0
    });
    let corners = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0_f32];
    let binary: Vec<u8> = corners.iter().flat_map(|number| number.to_le_bytes()).collect();
    crate::intake::glb_of(&document.to_string(), &binary)
}

/// The name of the result for a glb in a part with this header.
fn result_of(gateway: &Gateway, disposition: &[u8]) -> String {
    let mut body = b"--B\r\n".to_vec();
    body.extend_from_slice(disposition);
    body.extend_from_slice(b"\r\n\r\n");
    body.extend_from_slice(&triangle());
    body.extend_from_slice(b"\r\n--B--");
    let answer = post(gateway, "/convert?output_format=gltf", MULTIPART, body);
    assert_eq!(answer.status, 200, "{:?}", String::from_utf8_lossy(&answer.body));
    answer.header("content-disposition").unwrap().trim_start_matches("attachment; ").to_owned()
}

#[test]
fn file_names_of_parts_are_decoded() {
    let gateway = Gateway::start_cold(&[]);
    let named = |name: &str| result_of(&gateway, file(name).as_bytes());
    assert_eq!(named("../../x.glb"), "filename=\"x.gltf\"");
    assert_eq!(named(r"C:\\a\\b.glb"), "filename=\"b.gltf\"");
    assert_eq!(named(r"C:\a\b.glb"), "filename=\"b.gltf\"");
    assert_eq!(named("a/b.glb"), "filename=\"b.gltf\"");
    assert_eq!(named("/etc/passwd.glb"), "filename=\"passwd.gltf\"");
    assert_eq!(named("猫.glb"), "filename=\"_.gltf\"; filename*=UTF-8''%E7%8C%AB.gltf");
    assert_eq!(named("a%22b%0D%0Ac.glb"), "filename=\"a_bc.gltf\"");
    assert_eq!(named("100%.GLB"), "filename=\"100_.gltf\"; filename*=UTF-8''100%25.gltf");
    assert_eq!(named("a;name=b.glb"), "filename=\"a;name=b.gltf\"");
    let long = named(&format!("{}.glb", "x".repeat(4000)));
    assert!(long.len() < 240 && long.ends_with("xx.gltf\""), "{long}");
    let latin = b"Content-Disposition: form-data; name=file; filename=\"caf\xe9.glb\"";
    assert_eq!(result_of(&gateway, latin), "filename=\"caf_.gltf\"; filename*=UTF-8''caf%C3%A9.gltf");
    let extended =
        b"content-disposition:form-data;filename*=UTF-8''%E7%8C%AB.glb;filename=\"_.glb\";name=\"file\"";
    assert_eq!(result_of(&gateway, extended), "filename=\"_.gltf\"; filename*=UTF-8''%E7%8C%AB.gltf");
    until_no_folder_is_left(&gateway);
}

#[test]
fn a_raw_body_is_one_file() {
    let gateway = Gateway::start_cold(&[]);
    let raw = |query: &str, headers: &str| {
        post(&gateway, &format!("/v1/convert?output_format=gltf{query}"), headers, triangle())
    };
    // As `curl --data-binary` sends it.
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let answer = raw("&filename=%E7%8C%AB.glb", form);
    assert_eq!(answer.status, 200);
    let disposition = "attachment; filename=\"_.gltf\"; filename*=UTF-8''%E7%8C%AB.gltf";
    assert_eq!(answer.header("content-disposition"), Some(disposition));
    assert_eq!(answer.header("content-type"), Some("model/gltf+json"));
    for headers in ["", "Content-Type: multipar\r\n", "Content-Encoding: identity\r\n"] {
        let answer = raw("", headers);
        assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"model.gltf\""));
    }
    // The content decides the format, not the name; names without a known extension are errors, as in the predecessor.
    assert_eq!(raw("&filename=a.fbx", "").status, 200);
    assert_eq!(raw("&filename=a", "").problem().1, "no_extension");
    assert_eq!(raw("&filename=a.xyz", "").problem().1, "unsupported_input_format");
    let text = post(&gateway, "/convert?output_format=glb", "", "no model at all").problem();
    assert_eq!((text.0, text.1.as_str()), (415, "unknown_format"));
    for encoding in ["gzip", "br", "identity, gzip"] {
        let problem = raw("", &format!("Content-Encoding: {encoding}\r\n")).problem();
        assert_eq!((problem.0, problem.1.as_str()), (415, "unknown_format"), "{encoding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_files_make_one_model() {
    let gateway = Gateway::start(&[]);
    let names = ["crate.obj", "crate.mtl", "crate wood.png"];
    let contents = names.map(|name| example(&format!("crate/{name}")));
    let headers = names.map(file);
    let mut parts = vec![("Content-Disposition: form-data; name=\"comment\"", b"not a file".to_vec())];
    parts.extend(headers.iter().map(String::as_str).zip(contents.clone()));
    // Browsers send this for a file field without a file.
    let nothing = file("");
    parts.push((&nothing, Vec::new()));
    let answer = post(&gateway, "/convert?output_format=glb", MULTIPART, multipart(&parts));
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"crate.glb\""));
    let report = answer.header("link").unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
    let report: serde_json::Value =
        gateway.client.get(gateway.url(&report)).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (report["input"]["files"].as_u64(), report["output"]["textures"].as_u64()),
        (Some(3), Some(1))
    );

    // The same files as a zip; the result of several files is a zip, too.
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<_> = names
        .iter()
        .zip(&contents)
        .map(|(name, content)| {
            std::fs::write(folder.path().join(name), content).unwrap();
            (folder.path().join(name), format!("inside/{name}"))
        })
        .collect();
    let mut zip = std::io::Cursor::new(Vec::new());
    meshgate::fs::zip::zip_files(&files, &mut zip, || Ok(())).unwrap();
    let zip = zip.into_inner();
    for (query, media_type, name, magic) in [
        ("output_format=obj", "application/zip", "box.zip", b"PK\x03\x04".as_slice()),
        ("output_format=obj&packaging=single", "model/obj", "box.obj", b"# "),
        ("output_format=glb&packaging=zip", "application/zip", "box.zip", b"PK\x03\x04"),
        ("output_format=gltf&packaging=single", "model/gltf+json", "box.gltf", b"{"),
    ] {
        let answer = gateway.convert(query, "box.zip", zip.clone()).await;
        assert_eq!(answer.status(), 200, "{query}");
        let expected = format!("attachment; filename=\"{name}\"");
        assert_eq!(answer.headers()["content-disposition"], expected.as_str(), "{query}");
        assert_eq!(answer.headers()["content-type"], media_type, "{query}");
        let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let body = answer.bytes().await.unwrap();
        assert!(body.starts_with(magic) && body.len() == length, "{query}");
    }

    let two = multipart(&[(&*file("a.obj"), TRIANGLE), (&*file("b.obj"), TRIANGLE)]);
    let convert =
        |query: &str| post(&gateway, &format!("/convert?output_format=stl{query}"), MULTIPART, &two);
    let problem = convert("").problem();
    assert_eq!((problem.0, problem.1.as_str()), (422, "ambiguous_model"), "{problem:?}");
    let answer = convert("&main=b.obj");
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"b.stl\""));
    assert_eq!(convert("&main=../../etc/passwd").problem().0, 400);
    until_no_folder_is_left(&gateway);
}

#[test]
fn broken_multipart_bodies_are_refused() {
    let gateway = Gateway::start_cold(&[]);
    let good = multipart(&[(&*file("a.glb"), triangle())]);
    let to = |headers: &str, body: &[u8]| post(&gateway, "/convert?output_format=gltf", headers, body);
    let malformed = |headers: &str, body: &[u8], words: &str| {
        let Problem(status, code, detail) = to(headers, body).problem();
        assert_eq!((status, code.as_str()), (400, "malformed_request"), "{detail}");
        assert!(detail.contains(words), "{detail}");
    };
    let mut raw = gateway.raw();
    raw.send(
        "POST /convert?output_format=gltf HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc",
    );
    let chunks = raw.answer().unwrap().problem();
    assert_eq!((chunks.0, chunks.1.as_str()), (400, "malformed_request"));
    malformed("Content-Type: multipart/form-data\r\n", &good, "names no boundary");
    malformed("Content-Type: multipart/form-data; boundary=\"\"\r\n", &good, "names no boundary");
    malformed("Content-Type: multipart/form-data; boundary=C\r\n", &good, "ends early");
    malformed("Content-Type: multipart/mixed; boundary=B\r\n", &good, "only multipart/form-data");
    let long = format!("Content-Type: multipart/form-data; boundary={}\r\n", "B".repeat(71));
    malformed(&long, &good, "70 characters");
    malformed(MULTIPART, &good[..good.len() - 8], "ends early");
    let endless = [b"--B\r\nX: ".as_slice(), &vec![b'x'; 4 << 20]].concat();
    malformed(MULTIPART, &endless, "headers of a part are too long");
    malformed(MULTIPART, &[b"--B\r\n".as_slice(), &b"X: y\r\n".repeat(100_000)].concat(), "too long");

    let inner = multipart(&[("Content-Disposition: file; filename=\"a.glb\"", triangle())]);
    let nested =
        "Content-Disposition: form-data; name=\"file\"\r\nContent-Type: multipart/mixed; boundary=B2";
    assert_eq!(to(MULTIPART, &multipart(&[(nested, "x")])).problem().1, "no_file");
    assert_eq!(to(MULTIPART, &inner).problem().1, "no_file");
    assert_eq!(to(MULTIPART, &multipart(&[("X: y", "z")])).problem().1, "no_file");
    let empty = to(MULTIPART, &multipart(&[(&*file("a.glb"), "")])).problem();
    assert_eq!((empty.0, empty.1.as_str()), (422, "empty_file"));

    let field = "Content-Disposition: form-data; name=\"x\"";
    let problem = to(MULTIPART, &multipart(&vec![(field, "y"); 1000])).problem();
    assert_eq!((problem.0, problem.1.as_str()), (413, "too_large"));
    let textures: Vec<String> = (0..3000).map(|number| file(&format!("{number}.png"))).collect();
    let parts: Vec<(&str, &str)> = textures.iter().map(|header| (header.as_str(), "x")).collect();
    let problem = to(MULTIPART, &multipart(&parts)).problem();
    assert_eq!((problem.0, problem.1.as_str()), (413, "too_large"));

    assert_eq!(to(MULTIPART, &good).status, 200);
    until_no_folder_is_left(&gateway);
}

#[test]
fn a_model_may_have_a_thousand_files() {
    let gateway = Gateway::start_cold(&[]);
    let mut headers: Vec<String> = (0..999).map(|number| file(&format!("{number}.png"))).collect();
    headers.push(file("a.glb"));
    let (model, texture) = (triangle(), b"x".to_vec());
    let content = |index| if index == 999 { model.clone() } else { texture.clone() };
    let parts: Vec<_> =
        headers.iter().enumerate().map(|(index, header)| (header.as_str(), content(index))).collect();
    let answer = post(&gateway, "/convert?output_format=gltf&packaging=single", MULTIPART, multipart(&parts));
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
}

#[test]
fn oversized_bodies_are_refused_as_soon_as_possible() {
    let gateway = Gateway::start_cold(&[("MAX_FILE_SIZE", "100000")]);
    let announced = |length: &str| {
        format!("POST /convert?output_format=gltf HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")
    };
    let too_large = |problem: Problem| {
        let limit = "the request is above the limit of 100000 bytes";
        assert_eq!(problem, Problem(413, "too_large".to_owned(), limit.to_owned()));
    };
    // Refused without any byte of the body.
    let mut connection = gateway.raw();
    connection.send(announced("100001"));
    too_large(connection.answer().unwrap().problem());
    assert_eq!(gateway.raw().send_while_reading(&announced("100000"), vec![b'x'; 100_000]).status, 415);

    // A chunked body has no length, and this one never ends.
    let mut connection = gateway.raw();
    connection
        .send("POST /convert?output_format=gltf HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("{:x}\r\n{}\r\n", 50_000, "x".repeat(50_000));
    connection.send(&chunk);
    connection.send(&chunk);
    connection.send("1\r\nx\r\n");
    too_large(connection.answer().unwrap().problem());
    until_no_folder_is_left(&gateway);
}

#[test]
fn a_large_body_is_not_buffered_in_memory() {
    let gateway = Gateway::start(&[]);
    let kilobytes = |what: &str| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = kilobytes("VmRSS:");
    let large = multipart(&[(&*file("a.fbx"), vec![b'x'; 80 << 20])]);
    // The peak would show memory that the gateway freed with the request.
    let answer = post(&gateway, "/convert?output_format=glb", MULTIPART, large);
    assert_eq!(answer.problem().0, 415);
    let grown = kilobytes("VmHWM:").saturating_sub(before);
    assert!(grown < 40 << 10, "{grown} kB for 80 MB");
}

#[test]
fn a_stalled_body_times_out() {
    let gateway = Gateway::start_cold(&[("READ_TIMEOUT", "1")]);
    for (headers, body) in
        [("", "v 0 0 0"), (MULTIPART, "--B\r\nContent-Disp"), (MULTIPART, "--B--\r\n"), ("", "")]
    {
        let mut connection = gateway.raw();
        connection.send(format!(
            "POST /convert?output_format=glb HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 1000\r\n\r\n{body}"
        ));
        let Problem(status, code, detail) = connection.answer().unwrap().problem();
        assert_eq!((status, code.as_str()), (408, "request_timeout"), "{detail}");
    }
    until_no_folder_is_left(&gateway);
}

#[test]
fn a_trickling_body_times_out() {
    let gateway = Gateway::start_cold(&[("READ_TIMEOUT", "2")]);
    let mut raw = gateway.raw();
    raw.send(head("output_format=glb&filename=a.obj", 1 << 20));
    let mut writer = raw.stream.try_clone().unwrap();
    // No pause is too long, but the bytes arrive too slowly.
    let trickle = std::thread::spawn(move || {
        while writer.write_all(b"v").is_ok() {
            std::thread::sleep(PAUSE);
        }
    });
    let Problem(status, code, detail) = raw.answer().unwrap().problem();
    assert_eq!((status, code.as_str()), (408, "request_timeout"), "{detail}");
    assert!(detail.contains("too slowly"), "{detail}");
    raw.stream.shutdown(std::net::Shutdown::Both).unwrap();
    trickle.join().unwrap();
    until_no_folder_is_left(&gateway);
}

/// A fast start extends the allowed pauses by a bounded time.
#[test]
fn a_body_slowing_after_a_fast_start_times_out() {
    let gateway = Gateway::start_cold(&[("READ_TIMEOUT", "1")]);
    let mut raw = gateway.raw();
    raw.send(head("output_format=glb&filename=a.obj", 90 << 20));
    // At 1 KiB/s, these bytes would be worth two hours of credit.
    raw.send(vec![b'#'; 8 << 20]);
    let mut writer = raw.stream.try_clone().unwrap();
    let trickle = std::thread::spawn(move || {
        while writer.write_all(b"v").is_ok() {
            std::thread::sleep(10 * PAUSE);
        }
    });
    let Problem(status, code, detail) = raw.answer().unwrap().problem();
    assert_eq!((status, code.as_str()), (408, "request_timeout"), "{detail}");
    assert!(detail.contains("too slowly"), "{detail}");
    raw.stream.shutdown(std::net::Shutdown::Both).unwrap();
    trickle.join().unwrap();
    until_no_folder_is_left(&gateway);
}

#[test]
fn the_total_size_of_unfinished_uploads_is_limited() {
    let keys = "one:0123456789abcdef,other:fedcba9876543210";
    let gateway =
        Gateway::start_cold(&[("MAX_FILE_SIZE", "1M"), ("MAX_UPLOADS_SIZE", "2M"), ("API_KEYS", keys)]);
    let begin = |key: &str, length: usize| {
        let mut raw = gateway.raw();
        raw.send(format!(
            "POST /convert?output_format=gltf&filename=a.obj HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\
             content-length: {length}\r\n\r\n"
        ));
        raw
    };
    let (one, other) = ("0123456789abcdef", "fedcba9876543210");
    let mut first = begin(one, 1_000_000);
    first.send(vec![b'x'; 900_000]);
    until("it is on the disk", || gateway.conversions_on_disk().len() == 1);
    // The same client has no share left for this upload; another client has.
    let answer = begin(one, 1_000_000).send_while_reading("", vec![b'x'; 999_999]);
    let problem = answer.problem();
    assert_eq!((problem.0, problem.1.as_str()), (503, "overloaded"), "{problem:?}");
    assert!(answer.header("retry-after").is_some());
    let line = gateway.wait_for(answer.header("x-request-id").unwrap());
    assert!(line.contains("status=503 code=overloaded") && line.contains("key=\"one\""), "{line}");
    let answer = begin(other, 400_000).send_while_reading("", vec![b'x'; 400_000]);
    assert_eq!(answer.status, 415, "{answer:?}");
    until("only the first one is left on the disk", || gateway.conversions_on_disk().len() == 1);
    // A finished upload frees its share.
    assert_eq!(first.send_while_reading("", vec![b'x'; 100_000]).status, 415);
    let answer = begin(one, 1_000_000).send_while_reading("", vec![b'x'; 1_000_000]);
    assert_eq!(answer.status, 415, "{answer:?}");
    until_no_folder_is_left(&gateway);
}

#[test]
fn an_aborted_upload_leaves_no_files() {
    let gateway = Gateway::start(&[]);
    let lengths = ["Content-Length: 10000000", "Transfer-Encoding: chunked"];
    for (times, length) in (1..).zip([lengths, lengths].concat()) {
        let mut connection = gateway.raw();
        connection.send(format!("POST /convert?output_format=glb HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n"));
        connection.send(format!("{:x}\r\n{}", 10 << 20, "x".repeat(2 << 20)));
        // The upload has begun on the disk.
        until("an upload", || !gateway.conversions_on_disk().is_empty());
        drop(connection);
        until_no_folder_is_left(&gateway);
        // A client that hangs up is not an error.
        let line = gateway.wait_for("route=\"/convert\"");
        assert!(line.contains("status=499 code=cancelled"), "{line}");
        let metrics = gateway.raw().send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").answer().unwrap();
        let metrics = String::from_utf8(metrics.body).unwrap();
        for series in [
            r#"meshgate_http_requests_total{method="POST",route="/convert",status="499"}"#,
            r#"meshgate_conversions_total{engine="none",input="unknown",outcome="cancelled",output="glb"}"#,
        ] {
            assert!(metrics.contains(&format!("\n{series} {times}\n")), "no {series} {times}: {metrics}");
        }
    }
    let answer =
        post(&gateway, "/convert?output_format=gltf", MULTIPART, multipart(&[(&*file("a.glb"), triangle())]));
    assert_eq!(answer.status, 200);
}

#[test]
fn every_http_body_encoding_works() {
    let gateway = Gateway::start_cold(&[]);
    let body = multipart(&[(&*file("a.glb"), triangle())]);
    let head = |headers: &str| {
        format!("POST /convert?output_format=gltf HTTP/1.1\r\nHost: x\r\n{MULTIPART}{headers}\r\n")
    };
    let mut connection = gateway.raw();
    let first = post(&gateway, "/convert?output_format=gltf", MULTIPART, &body);

    // In chunks of all sizes, with extensions and trailers.
    connection.send(head("Transfer-Encoding: chunked\r\n"));
    let mut rest = body.as_slice();
    for size in (1..).take_while(|size| size * (size - 1) / 2 < body.len()) {
        let (chunk, tail) = rest.split_at(size.min(rest.len()));
        if !chunk.is_empty() {
            connection.send([format!("{:x};a=b\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        }
        rest = tail;
    }
    assert!(rest.is_empty());
    connection.send("0\r\nX-Trailer: y\r\n\r\n");
    let answer = connection.answer().unwrap();
    assert_eq!((answer.status, &answer.body), (200, &first.body));

    // The connection closes after a chunked request, so that no later bytes can be mistaken for a request.
    assert_eq!(answer.header("connection"), Some("close"));

    // On another connection, after 100 Continue.
    let mut connection = gateway.raw();
    let length = format!("Content-Length: {}\r\n", body.len());
    connection.send(head(&format!("{length}Expect: 100-continue\r\n")));
    assert_eq!(connection.answer().unwrap().status, 100);
    connection.send(&body);
    assert_eq!(connection.answer().unwrap().body, first.body);

    // Two pipelined requests are answered in order.
    let mut both = [head(&length).as_bytes(), &body].concat();
    both.extend_from_slice(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    connection.send(both);
    assert_eq!(connection.answer().unwrap().body, first.body);
    assert_eq!(connection.answer().unwrap().status, 200);

    // A client that waits for 100 Continue gets the refusal before it sends the body.
    let mut asking = gateway.raw();
    asking.send("POST /convert?output_format=xyz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(asking.answer().unwrap().problem().0, 400);
}

#[tokio::test]
async fn other_methods_get_405_with_allow() {
    let gateway = Gateway::start_cold(&[]);
    for method in
        [reqwest::Method::HEAD, reqwest::Method::OPTIONS, reqwest::Method::GET, reqwest::Method::PUT]
    {
        for path in ["/convert", "/v1/convert"] {
            let answer = gateway.client.request(method.clone(), gateway.url(path)).send().await.unwrap();
            assert_eq!(
                (answer.status().as_u16(), &answer.headers()["allow"]),
                (405, &"POST".parse().unwrap())
            );
        }
    }
}

#[tokio::test]
async fn v1_formats_lists_formats_options_and_limits() {
    let gateway = Gateway::start_cold(&[("MAX_FILE_SIZE", "12345")]);
    let list: serde_json::Value =
        gateway.client.get(gateway.url("/v1/formats")).send().await.unwrap().json().await.unwrap();
    assert_eq!(list["formats"].as_array().unwrap().len(), 15);
    let bvh = list["formats"].as_array().unwrap().iter().find(|format| format["name"] == "bvh").unwrap();
    let to: Vec<_> = bvh["to"].as_array().unwrap().iter().filter_map(|to| to.as_str()).collect();
    assert!(to.contains(&"glb") && !to.contains(&"vrm"), "{to:?}");
    let limits = &list["limits"];
    assert_eq!((limits["max_file_size"].as_u64(), limits["max_files"].as_u64()), (Some(12345), Some(2000)));
    assert_eq!(limits["max_unpacked_size"], 1 << 30);
    assert_eq!(limits["max_uploads_size"], 32 * limits["max_file_size"].as_u64().unwrap());
    let option = |name: &str| {
        let found = list["options"].as_array().unwrap().iter().find(|option| option["name"] == name);
        let mut found = found.unwrap().clone();
        found.as_object_mut().unwrap().remove("help");
        found
    };
    assert_eq!(option("draco"), json!({"name": "draco", "type": "boolean", "default": false}));
    assert_eq!(
        option("packaging"),
        json!({"name": "packaging", "type": "string", "values": ["auto", "single", "zip"], "default": "auto"})
    );
    assert_eq!(
        option("scale"),
        json!({"name": "scale", "type": "number", "minimum": 1e-6, "maximum": 1e6, "default": 1})
    );
}

#[test]
fn equal_names_with_different_content_are_refused() {
    let gateway = Gateway::start(&[]);
    let send = |second: &str| {
        let parts = [(&*file("a.obj"), TRIANGLE), (&*file("a.mtl"), "newmtl a\n"), (&*file("a.mtl"), second)];
        post(&gateway, "/convert?output_format=stl", MULTIPART, multipart(&parts))
    };
    assert_eq!(send("newmtl a\n").status, 200);
    let problem = send("newmtl b\n").problem();
    assert_eq!(
        problem,
        Problem(422, "ambiguous_model".into(), "two different files are called \"a.mtl\"".into())
    );
}
