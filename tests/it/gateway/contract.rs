//! The predecessor's contract, word by word.

use super::raw::{MULTIPART, Problem, file, multipart, post};
use super::{Gateway, TRIANGLE, example, until_no_folder_is_left};

fn refused(status: u16, code: &str, detail: &str) -> Problem {
    Problem(status, code.to_owned(), detail.to_owned())
}

#[test]
fn messages_and_statuses_match_the_predecessor() {
    let gateway = Gateway::start_cold(&[]);
    let to =
        |query: &str, body: &[u8]| post(&gateway, &format!("/convert{query}"), MULTIPART, body).problem();
    let one = |name: &str| multipart(&[(file(name).as_str(), TRIANGLE)]);
    let glb = "?output_format=glb";

    let required = refused(400, "no_output_format", "output_format query parameter is required");
    assert_eq!(post(&gateway, "/convert", "", "").problem(), required);
    assert_eq!(to("", &one("model")), required);
    assert_eq!(to("?output_format=", &one("a.obj")), required);
    let none = post(&gateway, "/convert?output_format=glb", "", "").problem();
    assert_eq!(none, refused(400, "no_file", "No file provided"));
    assert_eq!(to(glb, &multipart::<&str>(&[])), refused(400, "no_file", "No file provided"));
    let other = "Content-Disposition: form-data; name=\"model\"; filename=\"a.obj\"";
    assert_eq!(to(glb, &multipart(&[(other, TRIANGLE)])), refused(400, "no_file", "No file provided"));
    let field = "Content-Disposition: form-data; name=\"file\"";
    assert_eq!(to(glb, &multipart(&[(field, TRIANGLE)])), refused(400, "no_file", "No file provided"));
    assert_eq!(to(glb, &multipart(&[(&*file(""), "")])), refused(400, "no_file_name", "No file selected"));
    assert_eq!(to(glb, &multipart(&[(&*file(""), "x")])), refused(400, "no_file_name", "No file selected"));
    assert_eq!(to(glb, &one("model")), refused(400, "no_extension", "File has no extension"));
    assert_eq!(
        to(glb, &one("a.XYZ")),
        refused(400, "unsupported_input_format", "Unsupported input format: xyz")
    );
    assert_eq!(
        to("?output_format=xyz", &one("a.obj")),
        refused(400, "unsupported_output_format", "Unsupported output format: xyz")
    );
    let liar = to(glb, &multipart(&[(&*file("a.fbx"), "\u{89}hello")]));
    assert_eq!((liar.0, liar.1.as_str()), (415, "unknown_format"));
    until_no_folder_is_left(&gateway);
}

#[test]
fn long_client_texts_are_shortened_in_errors() {
    let gateway = Gateway::start_cold(&[]);
    let long = "猫".repeat(1300);
    for query in ["output_format=glb".to_owned(), format!("output_format=x{}", "y".repeat(4000))] {
        let body = multipart(&[(&*file(&format!("a.{long}")), TRIANGLE)]);
        let problem = post(&gateway, &format!("/convert?{query}"), MULTIPART, body).problem();
        assert!(problem.0 == 400 && problem.2.len() < 200, "{problem:?}");
    }
    let problem =
        post(&gateway, &format!("/convert?output_format=glb&{}=1", "o".repeat(4000)), MULTIPART, "x")
            .problem();
    assert_eq!((problem.0, problem.1.as_str()), (400, "unknown_option"));
}

#[test]
fn parameters_are_checked_before_the_body() {
    let gateway = Gateway::start_cold(&[]);
    let glb = |query: &str| {
        let path = format!("/convert?output_format=glb&{query}");
        // More bytes are announced than sent: a response shows that the server did not wait for the rest.
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{MULTIPART}Content-Length: 1000\r\n\r\n");
        gateway.raw().send_while_reading(&head, b"--B".to_vec()).problem()
    };
    for (query, code) in [
        ("colour=red", "unknown_option"),
        ("scale=0", "invalid_option"),
        ("scale=-1", "invalid_option"),
        ("animation=yes", "invalid_option"),
        ("triangulate=1", "invalid_option"),
        ("draco=maybe", "invalid_option"),
        ("packaging=tar", "invalid_option"),
        ("engine=native", "invalid_option"),
        ("scale=1&scale=2", "malformed_request"),
        ("output_format=fbx", "malformed_request"),
        ("scale=%FF", "invalid_option"),
    ] {
        let problem = glb(query);
        assert_eq!((problem.0, problem.1.as_str()), (400, code), "{query}");
    }
}

#[tokio::test]
async fn a_client_of_the_predecessor_is_served() {
    let gateway = Gateway::start(&[]);
    for (target, media_type, magic) in
        [("glb", "model/gltf-binary", b"glTF".as_slice()), ("FBX", "application/octet-stream", b"Kaydara")]
    {
        let answer = gateway.convert(&format!("output_format={target}"), "crate.obj", TRIANGLE.into()).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], media_type);
        let expected = format!("attachment; filename=\"crate.{}\"", target.to_lowercase());
        assert_eq!(answer.headers()["content-disposition"], expected.as_str());
        assert!(answer.bytes().await.unwrap().starts_with(magic));
    }
    let walk = gateway.convert("output_format=fbx&scale=&draco=", "walk.bvh", example("walk.bvh")).await;
    assert_eq!(walk.status(), 200);
    let health = gateway.client.get(gateway.url("/health")).send().await.unwrap();
    assert!(health.json::<serde_json::Value>().await.unwrap()["status"].is_string());
}
