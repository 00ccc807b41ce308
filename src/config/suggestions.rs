//! Finds variables that are probably misspelled settings.

use std::ffi::OsStr;

use strsim::levenshtein;

use super::settings::{FILE, PREFIX, TABLE, named};

/// Shortest name to suggest; shorter ones resemble too many others.
const SHORTEST: usize = 6;
/// Largest edit distance of a suggestion.
const MAX_DISTANCE: usize = 2;
/// Least common prefix of two forms of a word: ADDR and ADDRESS, PROXY and PROXIES.
const COMMON: usize = 4;
/// Least length of an abbreviated word: DIR of DIRECTORY.
const SHORT: usize = 3;

/// Variables of other programs that resemble a setting's name.
const OTHERS: [&str; 2] = ["APP_KEY", "APP_KEYS"];

/// The server that `meshgate jobs` talks to.
const CLIENT_SERVER: &str = "MESHGATE_SERVER";
/// The API key of `meshgate jobs`. A server with such a variable probably wants `API_KEYS`, and is open without.
const CLIENT_KEY: [&str; 2] = ["MESHGATE_API_KEY", "MESHGATE_API_KEY_FILE"];

/// Whether the variable is the API key of `meshgate jobs`.
pub fn is_client_key(variable: &str) -> bool {
    CLIENT_KEY.contains(&variable)
}

/// Returns a warning about a variable that is likely a mistake.
pub fn warning(variable: &str) -> Option<String> {
    let own = variable.strip_prefix(PREFIX);
    let name = own.unwrap_or(variable);
    let others = own.is_none() && OTHERS.contains(&name.strip_suffix(FILE).unwrap_or(name));
    let is_alias = TABLE.iter().any(|info| info.alias == Some(name));
    if named(name).is_some() || is_alias || others || variable == CLIENT_SERVER {
        return None;
    }
    let meant = match (likely(name), own) {
        (Some(likely), Some(_)) => format!("; did you mean {PREFIX}{likely} or {likely}?"),
        (Some(likely), None) => format!("; did you mean {likely}?"),
        (None, Some(_)) => String::new(),
        (None, None) => return None,
    };
    Some(format!("{variable} is not a setting{meant}"))
}

/// Returns the closest similar name: of a setting, also by its alias, or of a secret's `_FILE` variable.
pub fn likely(name: &str) -> Option<String> {
    let near = |known: &str| {
        let letters = (known.len() >= SHORTEST).then(|| levenshtein(known, name))?;
        (letters <= MAX_DISTANCE).then_some(letters)
    };
    let nearest = names().filter_map(|(known, meant)| Some((near(&known)?, meant)));
    let nearest = nearest.min_by_key(|(letters, _)| *letters).map(|(_, meant)| meant);
    nearest.or_else(|| names().find(|(known, _)| ends_otherwise(known, name)).map(|(_, meant)| meant))
}

/// Every name, with the name to suggest for it; an alias suggests its setting.
fn names() -> impl Iterator<Item = (String, String)> {
    TABLE.iter().flat_map(|info| {
        let file = info.secret.then(|| format!("{}{FILE}", info.name));
        let alias = info.alias.map(|alias| (alias.to_owned(), info.name.to_owned()));
        let same = [Some(info.name.to_owned()), file].into_iter().flatten().map(|name| (name.clone(), name));
        same.chain(alias)
    })
}

/// Whether only the last words differ, and are forms of the same word.
fn ends_otherwise(one: &str, other: &str) -> bool {
    let words = one.rsplit_once('_').zip(other.rsplit_once('_'));
    let Some(((before, one), (other_before, other))) = words else { return false };
    let common = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    let shorter = one.len().min(other.len());
    before == other_before && (common >= COMMON || common >= SHORT && common == shorter)
}

/// Whether Kubernetes created this variable for a service: one called `meshgate` gives every pod in its namespace
/// `MESHGATE_PORT=tcp://…`, `MESHGATE_SERVICE_HOST` and more.
pub fn is_service_link(name: &OsStr, value: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let begins = |text: &str, words: [&str; 3]| words.iter().any(|word| text.starts_with(word));
    let is_url = value.to_str().is_some_and(|value| begins(value, ["tcp://", "udp://", "sctp://"]));
    let of_port = name.split_once("_PORT_").is_some_and(|(_, rest)| {
        let protocol = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
        begins(protocol, ["_TCP", "_UDP", "_SCTP"])
    });
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || of_port
        || is_url && name.ends_with("_PORT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_names_cause_no_warning() {
        for info in TABLE {
            assert_eq!(warning(info.name), None);
            assert_eq!(warning(&format!("{PREFIX}{}", info.name)), None);
        }
        for name in [
            "GUNICORN_WORKERS",
            "API_KEYS_FILE",
            "MESHGATE_API_KEYS_FILE",
            "MESHGATE_SERVER",
            "HOME",
            "PATH",
            "APP_KEY",
            "APP_KEY_FILE",
            "APP_NAME",
            "POD_IP",
            "LOG_DIR",
            "MAX_CONCURRENCY",
            "METRICS_PORT",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "READ_ONLY",
            "REDIS_TLS",
            "REDIS_DB",
            "REDIS_USERNAME",
            "REDIS_CA_FILE",
            "STORAGE_CLASS",
            "WORKSPACE",
            "CACHE_DIR",
        ] {
            assert_eq!(warning(name), None, "{name}");
        }
    }

    #[test]
    fn misspelled_settings_get_a_suggestion() {
        for (name, expected) in [
            ("WORKRES", "WORKRES is not a setting; did you mean WORKERS?"),
            ("GUNICORN_WORKER", "GUNICORN_WORKER is not a setting; did you mean WORKERS?"),
            ("API_KEY", "API_KEY is not a setting; did you mean API_KEYS?"),
            ("API_KEY_FILE", "API_KEY_FILE is not a setting; did you mean API_KEYS_FILE?"),
            ("API_KEYS_FIEL", "API_KEYS_FIEL is not a setting; did you mean API_KEYS_FILE?"),
            ("REDIS_URL_FIL", "REDIS_URL_FIL is not a setting; did you mean REDIS_URL_FILE?"),
            ("REDIS_PASSWORD_FLE", "REDIS_PASSWORD_FLE is not a setting; did you mean REDIS_PASSWORD_FILE?"),
            (
                "MESHGATE_API_KEY",
                "MESHGATE_API_KEY is not a setting; did you mean MESHGATE_API_KEYS or API_KEYS?",
            ),
            (
                "MESHGATE_API_KEY_FILE",
                "MESHGATE_API_KEY_FILE is not a setting; did you mean MESHGATE_API_KEYS_FILE or API_KEYS_FILE?",
            ),
            ("TRUSTED_PROXY", "TRUSTED_PROXY is not a setting; did you mean TRUSTED_PROXIES?"),
            ("METRICS_ADDR", "METRICS_ADDR is not a setting; did you mean METRICS_ADDRESS?"),
            ("BIND_ADDR", "BIND_ADDR is not a setting; did you mean BIND_ADDRESS?"),
            ("REDIS_PASS", "REDIS_PASS is not a setting; did you mean REDIS_PASSWORD?"),
            ("REDIS_HOSTNAME", "REDIS_HOSTNAME is not a setting; did you mean REDIS_HOST?"),
            ("DATA_DIRECTORY", "DATA_DIRECTORY is not a setting; did you mean DATA_DIR?"),
            ("APP_ENVIRONMENT", "APP_ENVIRONMENT is not a setting; did you mean APP_ENV?"),
            (
                "MESHGATE_SANDBX",
                "MESHGATE_SANDBX is not a setting; did you mean MESHGATE_SANDBOX or SANDBOX?",
            ),
            ("MESHGATE_COLOUR", "MESHGATE_COLOUR is not a setting"),
            ("MESHGATE_WORKERS_FILE", "MESHGATE_WORKERS_FILE is not a setting"),
        ] {
            assert_eq!(warning(name).as_deref(), Some(expected));
        }
    }

    #[test]
    fn kubernetes_service_variables_are_recognised() {
        for (name, value) in [
            ("MESHGATE_SERVICE_HOST", "10.0.0.1"),
            ("MESHGATE_SERVICE_PORT", "80"),
            ("MESHGATE_SERVICE_PORT_HTTP", "80"),
            ("MESHGATE_PORT", "tcp://10.0.0.1:80"),
            ("MESHGATE_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("REDIS_PORT", "tcp://10.0.0.1:6379"),
        ] {
            assert!(is_service_link(name.as_ref(), value.as_ref()), "{name}");
        }
        for (name, value) in [("MESHGATE_PORT", "80"), ("REDIS_PORT", "6379"), ("BIND_ADDRESS", "tcp://a:1")]
        {
            assert!(!is_service_link(name.as_ref(), value.as_ref()), "{name}");
        }
    }
}
