//! Values repeated in nginx's configuration, compose files and the program are equal.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use meshgate::config::{Config, Sources};
use meshgate::domain::ErrorCode;

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The configuration that the program reads from the compose file of production, with the defaults there.
fn production() -> Config {
    let compose = file("docker-compose.prod.yml");
    let (_, after) = compose.split_once("    environment:\n      APP_ENV: production\n").unwrap();
    let lines = after.lines().take_while(|line| line.starts_with("      "));
    let variables = lines.filter_map(|line| line.trim().split_once(": "));
    let variables = variables.filter(|(name, _)| !name.starts_with('#') && !name.ends_with("_FILE"));
    let mut variables: BTreeMap<_, _> =
        variables.map(|(name, value)| (name.to_owned(), default_of(value))).collect();
    variables.insert("APP_ENV".to_owned(), "production".to_owned());
    assert!(variables.len() >= 5, "{variables:?}");
    let sources = Sources::new(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
    assert_eq!(sources.warnings(), [""; 0]);
    Config::load(&sources).unwrap()
}

/// The default in a compose file: `4G` of `${NAME:-4G}`.
fn default_of(value: &str) -> String {
    match value.strip_prefix("${").and_then(|value| value.strip_suffix('}')) {
        Some(variable) => variable.split_once(":-").map(|(_, usual)| usual).unwrap_or_default().to_owned(),
        None => value.to_owned(),
    }
}

/// All values of a directive in nginx.conf.
fn directive(name: &str) -> Vec<String> {
    let text = file("nginx/nginx.conf");
    let lines = text.lines().map(str::trim).filter_map(|line| line.strip_suffix(';'));
    lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned)).collect()
}

/// All values of a key in a compose file.
fn key(compose: &str, name: &str) -> Vec<String> {
    let lines = compose.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
    lines.map(default_of).collect()
}

/// A size of nginx or Docker in bytes.
fn bytes(size: &str) -> u64 {
    let (number, unit) = size.split_at(size.len() - 1);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "m" => 20,
        "g" => 30,
        other => panic!("{other}"),
    };
    number.parse::<u64>().unwrap() << shift
}

fn seconds(time: &str) -> Duration {
    Duration::from_secs(time.strip_suffix('s').unwrap().parse().unwrap())
}

#[test]
fn nginx_and_the_server_have_the_same_limits() {
    let config = production();
    let limit = directive("client_max_body_size");
    assert_eq!(limit.iter().map(|size| bytes(size)).collect::<Vec<_>>(), [config.server.max_file_size]);
    assert!(file("nginx/nginx.conf").contains("the request is larger than 100 MB"));
    for name in ["client_body_timeout", "send_timeout", "proxy_send_timeout"] {
        let times: Vec<_> = directive(name).iter().map(|time| seconds(time)).collect();
        assert_eq!(times, [config.server.timeout], "{name}");
    }
    // The locations of the health check and of event streams have shorter ones.
    let read: Vec<_> = directive("proxy_read_timeout").iter().map(|time| seconds(time)).collect();
    assert_eq!(read, [config.server.timeout, Duration::from_secs(10), Duration::from_mins(1)]);
    assert!(file("nginx/nginx.conf").contains("took longer than 600 s"));
    // nginx closes idle connections first, or at the same time.
    assert_eq!(directive("keepalive_timeout"), ["75s"]);
    assert_eq!(
        directive("client_header_timeout").iter().map(|time| seconds(time)).collect::<Vec<_>>(),
        [config.server.read_timeout]
    );
}

#[test]
fn nginx_uses_error_codes_of_the_server() {
    let text = file("nginx/nginx.conf");
    let (_, map) = text.split_once("map $status $code {\n").unwrap();
    let rows: Vec<_> = map.lines().take_while(|line| line.trim() != "}").collect();
    assert_eq!(rows.len(), 9, "{rows:?}");
    for row in rows {
        let (_, code) = row.trim().trim_end_matches(';').split_once(' ').unwrap();
        let known = serde_json::from_value::<ErrorCode>(code.into());
        assert!(known.is_ok(), "{code} is not a code of the server");
    }
}

#[test]
fn compose_allows_enough_shutdown_time_and_memory() {
    let config = production();
    let compose = file("docker-compose.prod.yml");
    let stop: Vec<_> = key(&compose, "stop_grace_period").iter().map(|time| seconds(time)).collect();
    let server = config.server.shutdown_delay + config.server.shutdown_grace + Duration::from_secs(10);
    assert_eq!(stop.len(), 2, "nginx and api");
    assert!(stop.iter().all(|time| *time >= server), "{stop:?} are shorter than {server:?}");
    let memory: Vec<_> = key(&compose, "mem_limit").iter().map(|size| bytes(size)).collect();
    let needed = config.server.workers as u64 * config.engine.memory + (1 << 30);
    assert_eq!(memory[1], needed);
    assert_eq!(compose.matches("maxmemory 512mb").count(), 2);
    // The Redis of jobs needs as much again to rewrite its file.
    assert!(memory[2] > 512 << 20 && memory[3] >= 2 * (512 << 20), "{memory:?}");
    // nginx ends by itself before it is killed.
    let cut: Vec<_> = directive("worker_shutdown_timeout").iter().map(|time| seconds(time)).collect();
    assert!(cut.len() == 1 && cut[0] >= server && cut[0] < stop[0], "{cut:?} {stop:?}");
}

#[test]
fn jobs_are_in_a_redis_that_keeps_them() {
    let jobs = production().jobs;
    assert!(jobs.redis.is_some_and(|redis| redis.url.expose() == "redis://redis-jobs:6379/0"));
    assert!(!jobs.allow_volatile);
    let compose = file("docker-compose.prod.yml");
    let (_, service) = compose.split_once("\n  redis-jobs:\n").unwrap();
    let (service, _) = service.split_once("\n\n").unwrap();
    for line in ["maxmemory-policy noeviction", "appendonly yes", "dir /data", "- jobs:/data"] {
        assert!(service.lines().any(|there| there.trim() == line), "{line}");
    }
}

#[test]
fn the_example_environment_lists_the_defaults() {
    let text = file(".env.production.example");
    let compose = file("docker-compose.prod.yml");
    let mut checked = 0;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once('=').unwrap();
        if let Some(info) = meshgate::config::settings::TABLE.iter().find(|info| info.name == name) {
            let environment = meshgate::config::Environment::Production;
            assert_eq!(info.default.value(environment), Some(value), "{name}");
            checked += 1;
        }
        // Variables of compose itself, and those that it passes on with a default.
        if compose.contains(&format!("${{{name}:")) && !value.is_empty() {
            assert!(compose.contains(&format!("${{{name}:-{value}}}")), "{line}");
            checked += 1;
        }
    }
    assert!(checked >= 9, "{checked}");
}
