//! `meshgate healthcheck` beside a real server.

use std::process::Output;

use rustix::process::Signal;

use crate::gateway::Gateway;

/// Runs `healthcheck` with only this address in its environment.
fn healthcheck(address: &str, arguments: &[&str]) -> Output {
    let mut command = assert_cmd::Command::cargo_bin("meshgate").unwrap();
    command.arg("healthcheck").args(arguments).env_clear().env("BIND_ADDRESS", address);
    command.output().unwrap()
}

fn one_line(bytes: &[u8]) -> &str {
    let text = std::str::from_utf8(bytes).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end()
}

#[test]
fn healthcheck_prints_the_readiness_of_the_server() {
    let mut gateway = Gateway::start(&[("SHUTDOWN_DELAY", "60")]);
    let address = gateway.address.trim_start_matches("http://").to_owned();
    let ready = healthcheck(&address, &[]);
    assert_eq!(ready.status.code(), Some(0));
    assert!(one_line(&ready.stdout).starts_with(r#"/readyz: 200 {"status":"ok","#), "{ready:?}");
    // A server that listens on all addresses is reached at the loopback address.
    let everywhere = address.replace("127.0.0.1", "0.0.0.0");
    assert_eq!(healthcheck(&everywhere, &[]).status.code(), Some(0));

    gateway.signal(Signal::TERM);
    gateway.wait_for("stopping");
    let draining = healthcheck(&address, &[]);
    assert_eq!(draining.status.code(), Some(1));
    assert!(one_line(&draining.stdout).starts_with("/readyz: 503 "), "{draining:?}");
    let alive = healthcheck(&address, &["--live"]);
    assert_eq!(alive.status.code(), Some(0));
    assert_eq!(one_line(&alive.stdout), r#"/livez: 200 {"status":"ok"}"#);

    gateway.signal(Signal::TERM);
    gateway.end();
    let gone = healthcheck(&address, &[]);
    assert_eq!(gone.status.code(), Some(1));
    let expected = format!("meshgate: could not ask {address}/readyz: Connection refused");
    assert!(one_line(&gone.stderr).starts_with(&expected), "{gone:?}");
}

#[test]
fn healthcheck_reads_the_server_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("meshgate.toml");
    // Nothing listens on this port; the error contains it.
    std::fs::write(&file, "bind_address = \"127.0.0.1:1\"\n").unwrap();
    let asked = healthcheck("", &["--config", file.to_str().unwrap()]);
    assert_eq!(asked.status.code(), Some(1));
    assert!(one_line(&asked.stderr).contains("127.0.0.1:1/readyz"), "{asked:?}");
}
