//! The program serves the OpenAPI document and its page without other servers.

use super::Gateway;

#[tokio::test]
async fn the_openapi_document_and_its_page_are_served() {
    let gateway = Gateway::start_cold(&[]);
    let get = |path: &str| gateway.client.get(gateway.url(path)).send();
    let document = get("/openapi.json").await.unwrap();
    assert_eq!(document.headers()["content-type"], "application/json");
    let printed = assert_cmd::Command::cargo_bin("meshgate").unwrap().arg("openapi").output().unwrap();
    assert_eq!(document.text().await.unwrap(), String::from_utf8(printed.stdout).unwrap());

    let page = get("/apidocs").await.unwrap();
    assert_eq!(page.url().path(), "/apidocs/");
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("script-src 'self';") && !policy.contains("http"), "{policy}");
    let page = page.text().await.unwrap();
    assert!(page.contains(concat!("Meshgate ", env!("CARGO_PKG_VERSION"))));
    let parts: Vec<_> = page
        .split('"')
        .filter(|text| !text.contains("json") && text.contains(".js") || text.contains(".css"))
        .collect();
    assert_eq!(parts.len(), 4, "{parts:?}");
    for part in parts {
        let answer = get(&format!("/apidocs/{part}")).await.unwrap();
        assert_eq!(answer.status(), 200, "{part}");
        let kind = if part.contains(".js") { "text/javascript" } else { "text/css" };
        let media_type = answer.headers()["content-type"].to_str().unwrap();
        assert!(media_type.starts_with(kind), "{part}: {media_type}");
        assert!(!answer.bytes().await.unwrap().is_empty(), "{part}");
    }
}
