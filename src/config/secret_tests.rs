//! Messages about wrong settings contain nothing that may be a secret.

use super::settings::TABLE;
use super::{Config, Mistakes, Sources};

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
