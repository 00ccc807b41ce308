//! The configuration file.

use std::path::Path;
use std::time::Duration;

use super::tests::{KEY, load, sources, with_file};
use super::types::LogFormat;
use super::{Config, Mistakes};

#[test]
fn the_environment_overrides_the_configuration_file() {
    let text = "max_file_size = \"10M\"\nworkers = 7\nread_timeout = 1.5\n\
                trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\nlog_level = \"\"\n";
    let config = with_file(&[("WORKERS", "3")], text).unwrap();
    assert_eq!((config.server.workers, config.server.max_file_size), (3, 10 << 20));
    assert_eq!(config.server.read_timeout, Duration::from_millis(1500));
    assert_eq!(config.access.trusted_proxies.len(), 2);
    assert_eq!(config.log.filter, "info");
    assert_eq!(with_file(&[("GUNICORN_WORKERS", "4")], "workers = 7").unwrap().server.workers, 4);
    assert_eq!(with_file(&[], "app_env = 'production'").unwrap().log.format, LogFormat::Json);
}

#[test]
fn switches_in_a_file_may_be_booleans() {
    let config = with_file(&[], "cache = false\npresign_results = true").unwrap();
    assert!(config.cache.is_none() && config.storage.presign);
    let config = with_file(&[], "cache = 'on'\npresign_results = 'off'").unwrap();
    assert!(config.cache.is_some() && !config.storage.presign);
    assert!(load(&[("CACHE", "false")]).cache.is_none());
    let told = |text: &str| with_file(&[], text).unwrap_err().0;
    // `false` is not taken for the name of a file.
    let lines = told("log_file = false");
    assert_eq!(lines, ["log_file in meshgate.toml takes the name of a file, not false"]);
    let lines = told("api_keys_file = true");
    assert_eq!(lines, ["api_keys_file in meshgate.toml takes the name of a file, not true"]);
    let [line] = &told("trusted_proxies = ['10.0.0.0/8', 5]")[..] else { panic!("one line") };
    assert!(line.starts_with("trusted_proxies in meshgate.toml takes addresses and networks "), "{line}");
    assert!(line.ends_with(", not \"5\""), "{line}");
    let [line] = &told(&format!("[api_keys]\nci = '{KEY}'"))[..] else { panic!("one line") };
    assert!(line.starts_with("api_keys in meshgate.toml takes NAME:KEY or "), "{line}");
    assert!(!line.contains(KEY), "{line}");
    let lines = told("api_key_file = '/keys'");
    assert_eq!(lines, ["api_key_file in meshgate.toml is not a setting; did you mean api_keys_file?"]);
}

#[test]
fn file_errors_are_reported_with_all_others() {
    let text = "worker = 1\nWORKERS = 1\ncolour = 1\nsandbox = true\nlog_files = 0\n[server]\nworkers = 1\n";
    let Mistakes(lines) = with_file(&[("SHUTDOWN_DELAY", "long")], text).unwrap_err();
    let expected = [
        "WORKERS in meshgate.toml is not a setting; did you mean workers?",
        "colour in meshgate.toml is not a setting",
        "log_files in meshgate.toml takes a number from 1 to 1000, not \"0\"",
        "sandbox in meshgate.toml takes auto, require or off, not true",
        "server in meshgate.toml is not a setting",
        "worker in meshgate.toml is not a setting; did you mean workers?",
    ];
    let mut of_file: Vec<_> = lines.iter().filter(|line| line.contains("meshgate.toml")).collect();
    of_file.sort();
    assert_eq!(of_file, expected.iter().collect::<Vec<_>>());
    assert_eq!(lines.len(), expected.len() + 1, "{lines:#?}");

    let Mistakes(lines) =
        with_file(&[("WORKERS", "x")], &format!("workers = 1\napi_keys = \"ci:{KEY}\n")).unwrap_err();
    assert_eq!(lines[0], "meshgate.toml is not valid TOML: line 2");
    assert_eq!(lines.len(), 2);

    let mut sources = sources(&[]);
    sources.add_file(Path::new("/nowhere/meshgate.toml"));
    let Mistakes(lines) = Config::load(&sources).unwrap_err();
    assert!(lines[0].starts_with("could not read /nowhere/meshgate.toml: "), "{lines:?}");
}
