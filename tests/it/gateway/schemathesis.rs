//! The real server answers as its OpenAPI document says; schemathesis generates the requests.

use std::path::Path;
use std::process::Command;

use super::Gateway;

#[test]
fn the_server_conforms_to_its_openapi_document() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = root.join(".venv/schemathesis/bin/schemathesis");
    assert!(program.exists(), "run: make setup");
    // A limit that is never reached adds the rate limit headers.
    let gateway = Gateway::start(&[("RATE_LIMIT_REQUESTS", "100000")]);
    let output = Command::new(program)
        .args(["--config-file", "schemathesis.toml", "run", &gateway.url("/openapi.json")])
        .current_dir(root.join("tests/schemathesis"))
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // Every operation was tested; schemathesis leaves out the document itself.
    let all = "18 selected / 18 total";
    assert!(said.contains(all), "not {all}: {said}");
}
