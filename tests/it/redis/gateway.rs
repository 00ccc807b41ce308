//! What the log at the start, probes and `doctor` say about Redis.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use redis::cmd;

use super::RedisServer;
use crate::gateway::{Gateway, LONG, TRIANGLE, scrape, until};

const NO_ENGINE: (&str, &str) = ("BLENDER_PYTHON", "/bin/false");

/// Runs the program until it ends; one that does not is killed, with the exit code 124.
fn meshgate(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("timeout");
    command.arg(LONG.as_secs().to_string()).arg(env!("CARGO_BIN_EXE_meshgate"));
    command.args(arguments).current_dir(root).envs(variables.iter().copied()).output().unwrap()
}

/// The line of Redis in `doctor`, and its exit code.
fn doctor(variables: &[(&str, &str)]) -> (Option<String>, Option<i32>) {
    doctor_about("redis", variables)
}

/// The line about `what` in `doctor`, and its exit code.
fn doctor_about(what: &str, variables: &[(&str, &str)]) -> (Option<String>, Option<i32>) {
    let output = meshgate(&["doctor"], variables);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains(&format!(" {what}: ")));
    (line.map(str::to_owned), output.status.code())
}

fn lines_of_the_log(folder: &Path, text: &str) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let lines: Vec<String> = logs
        .flat_map(|path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines.into_iter().filter(|line| line.contains(text)).collect()
}

#[tokio::test]
async fn a_wrong_password_is_logged_once_at_start() {
    let server = RedisServer::with(&["--requirepass", "right-secret"]);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("gateway.log");
    let url = format!("{}?pass=wrong-secret", server.url());
    let gateway =
        Gateway::start(&[("REDIS_URL", &url), ("LOG_FILE", log.to_str().unwrap()), ("LOG_LEVEL", "debug")]);
    // The service is ready, and reports that Redis is unavailable.
    let ready = gateway.client.get(gateway.url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    let ready: serde_json::Value = ready.json().await.unwrap();
    assert_eq!((&ready["status"], &ready["checks"]["redis"]), (&"ok".into(), &"away".into()));
    assert_eq!(gateway.convert("output_format=glb", "a.obj", TRIANGLE.into()).await.status(), 200);
    until("it is in the log", || !lines_of_the_log(folder.path(), "redis unavailable").is_empty());
    let said = lines_of_the_log(folder.path(), "redis unavailable");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("it does not let this user in with this password"), "{said:?}");
    assert!(lines_of_the_log(folder.path(), "-secret").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_report_the_redis_that_keeps_jobs() {
    let mut server = RedisServer::with(&["--appendonly", "yes"]);
    let gateway = Gateway::start(&[("JOBS_REDIS_URL", &server.url())]);
    for (status, health, up) in [("ok", "healthy", 1), ("away", "degraded", 0), ("ok", "healthy", 1)] {
        gateway.until_says("/readyz", status, |ready| ready["checks"]["jobs"] == status).await;
        let ready = gateway.client.get(gateway.url("/readyz")).send().await.unwrap();
        assert_eq!(ready.status(), 200);
        let ready: serde_json::Value = ready.json().await.unwrap();
        assert_eq!((&ready["status"], ready["checks"].get("redis")), (&"ok".into(), None));
        let found = gateway.json("/health").await;
        assert_eq!((&found["status"], &found["jobs"]["status"]), (&health.into(), &status.into()));
        let line = format!("\nmeshgate_backend_up{{backend=\"jobs\"}} {up}\n");
        assert!(scrape(&gateway).await.contains(&line));
        if up == 1 {
            server.kill();
            gateway.wait_for("redis of jobs unavailable; jobs wait");
        } else {
            server.restart();
            gateway.wait_for("redis of jobs connected");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_starts_while_its_redis_of_jobs_loads_waits_for_it() {
    let lasting = ["--appendonly", "yes"];
    let mut server = RedisServer::with(&lasting);
    let fill = "for number = 1, 200000 do redis.call('SET', 'other:' .. number, 1) end";
    cmd("EVAL").arg(fill).arg(0).exec(&mut server.connection()).unwrap();
    server.kill();
    // Microseconds for each key, so loading takes many seconds. Meanwhile it says that it has no append-only file.
    server.restart_with(&[&lasting[..], &["--key-load-delay", "100"]].concat());
    let gateway = Gateway::start_cold(&[("JOBS_REDIS_URL", &server.url())]);
    assert_eq!(gateway.json("/readyz").await["checks"]["jobs"], "away");
    cmd("CONFIG").arg("SET").arg("key-load-delay").arg(0).exec(&mut server.connection()).unwrap();
    gateway.until_says("/readyz", "ok", |ready| ready["checks"]["jobs"] == "ok").await;
}

#[test]
fn a_redis_that_may_lose_jobs_must_be_allowed() {
    let server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let output = meshgate(&["serve"], &[("JOBS_REDIS_URL", &server.url()), ("DATA_DIR", data)]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("set appendonly yes, or allow this with ALLOW_VOLATILE_JOBS=true"), "{said}");
    let logged = String::from_utf8(output.stdout).unwrap();
    assert!(!logged.contains("unavailable"), "{logged}");
    Gateway::start_cold(&[("JOBS_REDIS_URL", &server.url()), ("ALLOW_VOLATILE_JOBS", "true")]);

    // Without `maxmemory`, it does not evict yet.
    let server = RedisServer::with(&["--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"]);
    let output = meshgate(&["worker"], &[("JOBS_REDIS_URL", &server.url()), ("DATA_DIR", data)]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("(maxmemory-policy allkeys-lru); set maxmemory-policy noeviction"), "{said}");
}

#[test]
fn a_redis_without_jobs_is_warned_about() {
    let warns = |variables: &[(&str, &str)]| {
        let said = meshgate(&["serve", "--check"], variables).stderr;
        String::from_utf8(said).unwrap().contains("JOBS_REDIS_URL is not")
    };
    let (redis, jobs) = (("REDIS_URL", "redis://cache"), ("JOBS_REDIS_URL", "redis://jobs"));
    assert!(warns(&[redis, NO_ENGINE]) && warns(&[("REDIS_HOST", "cache"), NO_ENGINE]));
    assert!(!warns(&[redis, jobs, NO_ENGINE]) && !warns(&[jobs, NO_ENGINE]) && !warns(&[NO_ENGINE]));
}

#[test]
fn an_invalid_redis_address_is_refused() {
    for (variables, expected) in [
        (&[("REDIS_URL", "redis//:s3cret@cache")][..], "meshgate: REDIS_URL takes a URL like redis://"),
        (&[("REDIS_URL", "redis://:s3cret@cache/x")], "meshgate: REDIS_URL takes a URL like redis://"),
        (
            &[("REDIS_HOST", "cache:1"), ("REDIS_PASSWORD", "s3cret")],
            "meshgate: REDIS_HOST takes a host's name",
        ),
    ] {
        for arguments in [&["serve"][..], &["serve", "--check"], &["doctor"]] {
            let output = meshgate(arguments, variables);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(64), "{said}");
            assert!(said.starts_with(expected) && said.lines().count() == 1, "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}

#[test]
fn the_doctor_reports_the_state_of_redis() {
    assert_eq!(doctor(&[NO_ENGINE]).0, None);
    let server = RedisServer::with(&["--requirepass", "s3cret"]);
    let url = server.url();
    let password = server.socket().with_file_name("password");
    fs::write(&password, "s3cret\n").unwrap();
    // `doctor` with the password, then without.
    let (line, well) = doctor(&[("REDIS_URL", &url), ("REDIS_PASSWORD_FILE", password.to_str().unwrap())]);
    let line = line.unwrap();
    assert!(line.starts_with("✓ redis: 7.") && line.contains(server.socket().to_str().unwrap()), "{line}");
    let (line, code) = doctor(&[("REDIS_URL", &url)]);
    assert_eq!(
        (line.unwrap(), code),
        (format!("✗ redis: {}: it asks for a password", server.socket().display()), Some(1))
    );
    // All other checks pass, so that the exit code above is due to Redis.
    assert_eq!(well, Some(0));
    let (line, code) = doctor(&[("REDIS_URL", &url), ("REDIS_PASSWORD", "wr0ng"), NO_ENGINE]);
    let line = line.unwrap();
    assert!(line.contains("it does not let this user in") && !line.contains("wr0ng"), "{line}");
    assert_eq!(code, Some(1));
    let (line, _) = doctor(&[("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", "1"), NO_ENGINE]);
    assert!(line.as_ref().is_some_and(|line| line.starts_with("✗ redis: 127.0.0.1:1: ")), "{line:?}");
}

/// The path of a test certificate. `server.pem` is for `localhost`, and its key is present.
fn certificate(name: &str) -> String {
    format!("{}/tests/it/redis/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A Redis with TLS, and its address.
fn with_tls() -> (RedisServer, String) {
    // Redis cannot choose a free port for TLS, and another process may take the port meanwhile.
    for _ in 0..20 {
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let mut server = RedisServer::with(&[
            "--tls-port",
            &port,
            "--tls-cert-file",
            &certificate("server.pem"),
            "--tls-key-file",
            &certificate("server.key.pem"),
            "--tls-auth-clients",
            "no",
        ]);
        if server.is_alive() {
            return (server, format!("rediss://localhost:{port}"));
        }
    }
    panic!("no port is free");
}

#[test]
fn the_doctor_reports_what_keeps_the_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().to_str().unwrap(), folder.path().join("jobs.sqlite"));
    let jobs = |variables: &[(&str, &str)]| {
        let variables = [&[("DATA_DIR", data), NO_ENGINE][..], variables].concat();
        doctor_about("jobs", &variables).0.unwrap()
    };
    let shown = file.display();
    assert_eq!(jobs(&[]), format!("✓ jobs: {shown} will be made when the server starts"));
    assert!(!file.exists());
    fs::write(&file, "").unwrap();
    let line = jobs(&[]);
    assert!(line.starts_with(&format!("✓ jobs: {shown}, tables of version 0, journal mode wal, ")), "{line}");
    fs::remove_file(&file).unwrap();
    fs::write(&file, "no database\n".repeat(1000)).unwrap();
    let line = jobs(&[]);
    assert!(line.starts_with(&format!("✗ jobs: {shown} is not a SQLite database")), "{line}");

    let lasting = RedisServer::with(&["--appendonly", "yes"]);
    let line = jobs(&[("JOBS_REDIS_URL", &lasting.url())]);
    let socket = lasting.socket().display().to_string();
    assert!(line.starts_with("✓ jobs: 7.") && line.contains(&socket), "{line}");
    let volatile = RedisServer::start();
    let url = volatile.url();
    let url = ("JOBS_REDIS_URL", url.as_str());
    let line = jobs(&[url]);
    let expected =
        "✗ jobs: the redis of JOBS_REDIS_URL cannot keep jobs: it does not write each change to a file";
    assert!(line.starts_with(expected), "{line}");
    let line = jobs(&[url, ("ALLOW_VOLATILE_JOBS", "true")]);
    assert!(line.starts_with("✓ jobs: 7."), "{line}");
    let protected = RedisServer::with(&["--appendonly", "yes", "--requirepass", "s3cret"]);
    let url = format!("{}?pass=wr0ng", protected.url());
    let line = jobs(&[("JOBS_REDIS_URL", &url)]);
    assert!(line.ends_with(": it does not let this user in with this password"), "{line}");
    let line = jobs(&[("JOBS_REDIS_URL", "redis://127.0.0.1:1")]);
    assert!(line.starts_with("✗ jobs: 127.0.0.1:1: "), "{line}");
}

#[test]
fn urls_of_a_cluster_or_a_sentinel_are_refused() {
    for (url, expected) in [
        ("redis+sentinel://:s3cret@a:26379/mymaster", ": Sentinel is not supported; "),
        ("redis+cluster://:s3cret@a", ": several servers and clusters are not supported; "),
        ("redis://:s3cret@a:6379,b:6379", ": several servers and clusters are not supported; "),
    ] {
        for name in ["JOBS_REDIS_URL", "REDIS_URL"] {
            let said = String::from_utf8(meshgate(&["serve", "--check"], &[(name, url)]).stderr).unwrap();
            let line =
                said.lines().find(|line| line.starts_with(&format!("meshgate: {name} takes "))).unwrap();
            assert!(line.contains(expected) && !said.contains("s3cret"), "{said}");
        }
    }
}

/// A node of a cluster that has no others.
fn cluster() -> RedisServer {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let bus = ["--cluster-enabled", "yes", "--bind", "127.0.0.1", "--cluster-port", port.as_str()];
    RedisServer::with(&[&["--appendonly", "yes"][..], &bus].concat())
}

#[test]
fn a_cluster_or_a_sentinel_keeps_no_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    for (server, why) in [
        (cluster(), "it is a Redis Cluster; use a single Redis for jobs"),
        (
            RedisServer::sentinel(),
            "it is a Sentinel, which keeps no data; name an address that always leads to the master",
        ),
    ] {
        let expected = format!("meshgate: the redis of JOBS_REDIS_URL cannot keep jobs: {why}\n");
        // Neither has a second database, nor a password, which the Redis behind it may have.
        for (subcommand, rest) in
            [("serve", ""), ("worker", ""), ("worker", "?db=1"), ("worker", "?pass=s3cret&db=1")]
        {
            let url = format!("{}{rest}", server.url());
            let variables =
                [("JOBS_REDIS_URL", url.as_str()), ("ALLOW_VOLATILE_JOBS", "true"), ("DATA_DIR", data)];
            let output = meshgate(&[subcommand], &variables);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!((said, output.status.code()), (expected.clone(), Some(1)), "{subcommand} {rest}");
        }
    }
}

#[test]
fn tls_requires_a_trusted_certificate() {
    let (_server, url) = with_tls();
    let ask =
        |trusted: &str| doctor(&[("REDIS_URL", &url), ("SSL_CERT_FILE", &certificate(trusted)), NO_ENGINE]);
    let line = ask("server.pem").0.unwrap();
    assert!(line.starts_with("✓ redis: 7."), "{line}");
    let line = ask("stranger.pem").0.unwrap();
    assert!(line.starts_with("✗ redis: localhost:") && line.contains("certificate"), "{line}");
}
