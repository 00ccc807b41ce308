//! The simplest conversions over HTTP.

use super::{Gateway, TRIANGLE, report, until_no_folder_is_left};

#[tokio::test]
async fn a_model_is_converted_with_all_response_headers() {
    let gateway = Gateway::start(&[]);
    let answer = gateway.convert("output_format=glb", "三角.obj", TRIANGLE.into()).await;
    assert_eq!(answer.status(), 200);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "model/gltf-binary");
    assert_eq!(
        header("content-disposition"),
        "attachment; filename=\"__.glb\"; filename*=UTF-8''%E4%B8%89%E8%A7%92.glb"
    );
    for name in ["receive", "queue", "convert", "check"] {
        assert!(header("server-timing").contains(&format!("{name};dur=")), "{}", header("server-timing"));
    }
    let report = report(&answer);
    let length: usize = header("content-length").parse().unwrap();
    let losses: usize = header("meshgate-losses").parse().unwrap();
    let file = answer.bytes().await.unwrap();
    assert_eq!((file.len(), &file[..4]), (length, b"glTF".as_slice()));

    let report: serde_json::Value =
        gateway.client.get(gateway.url(&report)).send().await.unwrap().json().await.unwrap();
    assert_eq!(report["output"]["triangles"], 1);
    assert_eq!(report["losses"].as_array().unwrap().len(), losses);
    until_no_folder_is_left(&gateway);
}
