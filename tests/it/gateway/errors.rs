//! Errors from every layer are problems of RFC 9457, and listed in the OpenAPI document.

use reqwest::Method;
use serde_json::Value;

use super::{Gateway, TRIANGLE};

const FORM: &str = "multipart/form-data; boundary=b";

pub struct Case {
    pub method: Method,
    pub path: &'static str,
    pub media_type: &'static str,
    pub body: &'static str,
    pub status: u16,
    pub code: &'static str,
}

const fn case(
    path: &'static str,
    media_type: &'static str,
    body: &'static str,
    status: u16,
    code: &'static str,
) -> Case {
    Case { method: Method::POST, path, media_type, body, status, code }
}

const fn get(path: &'static str, status: u16, code: &'static str) -> Case {
    Case { method: Method::GET, path, media_type: "", body: "", status, code }
}

const ANY: &str = "application/octet-stream";

pub fn cases() -> Vec<Case> {
    let part = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\"\r\n\r\nx\r\n--b--\r\n";
    vec![
        get("/nothing", 404, "not_found"),
        get("/v1/reports/1", 404, "not_found"),
        get("/v1/reports/%ff", 404, "not_found"),
        // This ID is from February 2022.
        get("/v1/reports/017f22e2-79b0-7cc3-98c4-dc0c0c07398f", 410, "expired"),
        get("/apidocs/%ff", 404, "not_found"),
        get("/apidocs/index.html.bak", 404, "not_found"),
        get("/convert", 405, "method_not_allowed"),
        Case { method: Method::DELETE, ..get("/v1/formats", 405, "method_not_allowed") },
        Case { method: Method::PUT, ..get("/apidocs/", 405, "method_not_allowed") },
        case("/convert", ANY, TRIANGLE, 400, "no_output_format"),
        case("/convert?output_format=", ANY, TRIANGLE, 400, "no_output_format"),
        case("/convert?output_format=xyz", ANY, TRIANGLE, 400, "unsupported_output_format"),
        case("/convert?output_format=glb&color=red", ANY, TRIANGLE, 400, "unknown_option"),
        case("/convert?output_format=glb&scale=0", ANY, TRIANGLE, 400, "invalid_option"),
        case("/convert?output_format=fbx&draco=true", ANY, TRIANGLE, 400, "invalid_option"),
        case("/convert?output_format=glb&filename=a.xyz", ANY, TRIANGLE, 400, "unsupported_input_format"),
        case("/convert?output_format=glb&filename=a", ANY, TRIANGLE, 400, "no_extension"),
        case("/convert?output_format=glb", ANY, "", 400, "no_file"),
        case("/convert?output_format=glb", FORM, "--b--\r\n", 400, "no_file"),
        case("/convert?output_format=glb", FORM, part, 400, "no_file_name"),
        case("/convert?output_format=glb", FORM, "--b\r\nContent-Disp", 400, "malformed_request"),
        case("/convert?output_format=glb", "multipart/form-data", "x", 400, "malformed_request"),
        case("/convert?output_format=glb&filename=a.fbx", ANY, "no model at all", 415, "unknown_format"),
        case("/convert?output_format=bvh&filename=a.obj", ANY, TRIANGLE, 422, "unsupported_pair"),
        case(
            "/v1/convert?output_format=glb&filename=a.zip",
            ANY,
            "PK\u{3}\u{4}broken",
            422,
            "invalid_archive",
        ),
    ]
}

#[tokio::test]
async fn errors_match_the_openapi_document() {
    let gateway = Gateway::start_cold(&[]);
    let document: Value =
        gateway.client.get(gateway.url("/openapi.json")).send().await.unwrap().json().await.unwrap();
    for case in cases() {
        let what = format!("{} {} {:?}", case.method, case.path, case.body);
        let request = gateway.client.request(case.method.clone(), gateway.url(case.path)).body(case.body);
        let answer = request.header("content-type", case.media_type).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{what}");
        assert_eq!(answer.headers()["cache-control"], "no-store", "{what}");
        let allow = answer.headers().get("allow").map(|allow| allow.to_str().unwrap().to_owned());
        assert_eq!(allow.is_some(), case.status == 405, "{what}: {allow:?}");
        let (status, id) = (answer.status(), answer.headers()["x-request-id"].clone());
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(
            (status.as_u16(), problem["code"].as_str()),
            (case.status, Some(case.code)),
            "{what}: {problem}"
        );
        assert_eq!(problem["status"], case.status, "{what}");
        assert_eq!(problem["error"], problem["detail"], "{what}");
        assert_eq!(problem["request_id"], id.to_str().unwrap(), "{what}");
        if ["/nothing", "/apidocs"].iter().any(|path| case.path.starts_with(path)) || case.status == 405 {
            continue;
        }
        let path = if case.path.starts_with("/v1/reports") {
            "/v1/reports/{id}"
        } else {
            case.path.split('?').next().unwrap()
        };
        let listed = &document["paths"][path][case.method.as_str().to_lowercase()]["responses"]
            [case.status.to_string()]["content"]["application/problem+json"]["schema"]["properties"]["code"]
            ["enum"];
        assert!(listed.as_array().unwrap().contains(&Value::from(case.code)), "{what}: not in {listed}");
    }
}
