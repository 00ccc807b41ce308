//! Secrets may be in files, and are in no message.

use std::fs;

use super::settings::TABLE;
use super::tests::{KEY, load, with_file, wrong};
use super::{ApiKey, Config, Mistakes, Sources};

/// Tries URLs with a password in every setting: such a mix-up is easy.
#[test]
fn no_value_that_may_hold_a_secret_is_shown() {
    let urls = [
        "redis://:s3cret@cache:6379/0",
        "http://me:s3cret@collector:4317",
        "collector:4317?key=s3cret",
        "https://a.blob.core.windows.net/c?sig=s3cret",
        "AccountName=me;AccountKey=s3cret",
    ];
    let takes_anything = ["API_KEYS", "REDIS_PASSWORD"];
    for info in TABLE.iter().filter(|info| !takes_anything.contains(&info.name)) {
        for url in urls {
            let Err(Mistakes(lines)) = Config::load(&Sources::new([(info.name.into(), url.into())])) else {
                continue;
            };
            assert!(lines.iter().all(|line| !line.contains("s3cret")), "{lines:?}");
            assert!(lines.iter().any(|line| line.contains(info.name)), "{lines:?}");
        }
    }
    let origins = Sources::new([("CORS_ORIGINS".into(), "https://a, https://me:s3cret@b".into())]);
    let Mistakes(lines) = Config::load(&origins).unwrap_err();
    assert!(lines[0].ends_with("; its value is not shown, as it may hold a secret"), "{lines:?}");
}

#[test]
fn a_secret_can_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let name = path.to_str().unwrap();
    let digest = *blake3::hash(KEY.as_bytes()).as_bytes();
    for text in [format!("ci:{KEY}"), format!("ci:{KEY}\n"), format!("ci:{KEY}\r\n")] {
        fs::write(&path, text).unwrap();
        for variable in ["API_KEYS_FILE", "MESHGATE_API_KEYS_FILE"] {
            let keys = load(&[(variable, name), ("API_KEYS", "")]).access.api_keys;
            assert_eq!(keys, [ApiKey { name: "ci".to_owned(), digest, requests: None }]);
        }
    }
    assert_eq!(with_file(&[], &format!("api_keys_file = {name:?}")).unwrap().access.api_keys.len(), 1);
    let other = [("API_KEYS", "web:another-key-of-mine")];
    // The environment overrides the file; that is no contradiction.
    let keys = with_file(&other, &format!("api_keys_file = {name:?}")).unwrap().access.api_keys;
    assert_eq!(keys[0].name, "web");

    let lines = wrong(&[other[0], ("API_KEYS_FILE", name)]);
    assert_eq!(lines, ["API_KEYS and API_KEYS_FILE are both set; unset one of them"]);
    fs::write(&path, "\n").unwrap();
    assert!(wrong(&[("API_KEYS_FILE", name)])[0].ends_with("keys is empty"));
    let lines = wrong(&[("API_KEYS_FILE", "/nowhere/keys")]);
    assert!(lines[0].starts_with("API_KEYS_FILE: could not read /nowhere/keys: "), "{lines:?}");
    fs::write(&path, "ci:tooshort").unwrap();
    let lines = wrong(&[("API_KEYS_FILE", name)]);
    assert!(lines[0].starts_with("API_KEYS_FILE takes ") && !lines[0].contains("tooshort"), "{lines:?}");
}
