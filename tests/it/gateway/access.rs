//! Access: keys, origins, and security headers.

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{Gateway, TRIANGLE};

#[tokio::test]
async fn the_api_key_is_checked_before_the_body() {
    let gateway = Gateway::start_cold(&[("API_KEYS", "studio:s3cret-s3cret-s3cret,robot:b0lts-b0lts-b0lts")]);
    let client = &gateway.client;
    for path in ["/health", "/livez", "/openapi.json", "/apidocs/", "/apidocs/swagger-ui.css"] {
        assert_eq!(client.get(gateway.url(path)).send().await.unwrap().status(), 200, "{path}");
    }
    for path in ["/v1/formats", "/v1/reports/1", "/nothing", "//livez", "/livez/", "/apidocsx"] {
        let answer = client.get(gateway.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"meshgate\"");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "unauthorized");
    }
    for (header, value, status) in [
        ("authorization", "Bearer s3cret-s3cret-s3cret", 200),
        ("authorization", "bearer b0lts-b0lts-b0lts", 200),
        ("x-api-key", "b0lts-b0lts-b0lts", 200),
        ("x-api-key", "studio", 401),
        ("x-api-key", "s3cret-s3cret-s3cret ,", 401),
        ("authorization", "Basic czNjcmV0", 401),
    ] {
        let request = client.get(gateway.url("/v1/formats")).header(header, value);
        assert_eq!(request.send().await.unwrap().status(), status, "{header}: {value}");
    }
    // The body is announced and never sent: the response does not wait for it.
    let head = "POST /convert?output_format=glb HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    assert_eq!(gateway.raw().send(head).answer().unwrap().status, 401);
    // Without CORS, a preflight needs a key like any other request.
    let answer = client.request(Method::OPTIONS, gateway.url("/convert")).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    for secret in ["s3cret-s3cret-s3cret", "b0lts-b0lts-b0lts"] {
        assert!(!gateway.said().iter().any(|line| line.contains(secret)));
    }
}

#[tokio::test]
async fn only_configured_origins_are_allowed() {
    let gateway = Gateway::start_cold(&[
        ("CORS_ORIGINS", "https://a.example"),
        ("API_KEYS", "studio:s3cret-s3cret-s3cret"),
    ]);
    let ask = |method: Method, origin: &'static str| {
        gateway
            .client
            .request(method, gateway.url("/convert?output_format=glb"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "x-api-key")
            .send()
    };
    let question = ask(Method::OPTIONS, "https://a.example").await.unwrap();
    assert_eq!(question.status(), 200);
    assert_eq!(question.headers()["access-control-allow-origin"], "https://a.example");
    let allowed = question.headers()["access-control-allow-headers"].to_str().unwrap();
    assert!(allowed.split(',').any(|name| name == "x-api-key"), "{allowed}");
    let answer = ask(Method::POST, "https://a.example").await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://a.example");
    let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap();
    for name in
        ["x-request-id", "server-timing", "meshgate-losses", "link", "content-disposition", "retry-after"]
    {
        assert!(exposed.split(',').any(|exposed| exposed == name), "{name} is not in {exposed}");
    }
    let stranger = ask(Method::OPTIONS, "https://b.example").await.unwrap();
    assert!(stranger.headers().get("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn every_response_has_the_security_headers() {
    let gateway = Gateway::start(&[]);
    let converted = gateway.convert("output_format=stl", "a.obj", TRIANGLE.into()).await;
    assert_eq!(converted.status(), 200);
    let get = |path: &str| gateway.client.get(gateway.url(path)).header("origin", "https://a.example").send();
    let answers = [
        converted,
        get("/livez").await.unwrap(),
        get("/nothing").await.unwrap(),
        get("/convert").await.unwrap(),
    ];
    for answer in &answers {
        let headers = answer.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["content-security-policy"], "default-src 'none'; frame-ancestors 'none'");
        for absent in ["access-control-allow-origin", "strict-transport-security"] {
            assert!(headers.get(absent).is_none(), "{absent}");
        }
    }
    assert_eq!(
        answers.map(|answer| answer.status()),
        [200, 200, 404, 405].map(|s| StatusCode::from_u16(s).unwrap())
    );
}

#[tokio::test]
async fn an_unexpected_body_takes_no_memory() {
    const CHUNK: usize = 1 << 20;
    let gateway = Gateway::start_cold(&[]);
    let before = memory(&gateway);
    let mut raw = gateway.raw();
    raw.send("GET /v1/formats HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n");
    for _ in 0..64 {
        raw.send(vec![b'x'; CHUNK]);
    }
    assert_eq!(raw.answer().unwrap().status, 200);
    assert_eq!(gateway.client.get(gateway.url("/livez")).send().await.unwrap().status(), 200);
    let grown = memory(&gateway).saturating_sub(before);
    assert!(grown < 32 << 20, "grew by {grown} bytes");
}

/// The peak resident memory, in bytes.
fn memory(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
