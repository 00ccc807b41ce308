//! Parses the texts of settings.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use redis::{ConnectionAddr, ConnectionInfo};
use secrecy::{ExposeSecret, SecretString};
use tracing_subscriber::EnvFilter;
use url::Url;

use super::types::ApiKey;

pub const ADDRESS: &str = "an address and port like 127.0.0.1:5000 or [::]:5000";
pub const SIZE: &str = "a number of bytes above 0, or one like 512M or 4G";
pub const SWITCH: &str = "on or off, or true or false";
pub const REQUESTS: &str = "a number from 0 to 100000";
pub const SECONDS: &str = "a number of seconds above 0, up to 1000000";
pub const LIFETIME: &str = "a number of seconds above 0, up to 100000000";
pub const REDIS_URL: &str =
    "a URL like redis://host:6379/0, rediss://user:password@host or unix:///run/redis.sock";
pub const REDIS_HOST: &str = "a host's name or address, without a port";
pub const SECONDS_OR_NONE: &str = "a number of seconds from 0 to 1000000";

/// Longest time limit, in seconds: beyond any use, and far from overflow.
const LONGEST: f64 = 1e6;
/// Longest lifetime of stored data, in seconds: three years.
const LONGEST_KEPT: f64 = 1e8;

/// Most requests per window; each is held in memory for a window.
const MOST_REQUESTS: u32 = 100_000;

/// Least length of a key; shorter ones could be guessed.
const KEY_LEAST: usize = 16;
const KEY_NAME_MOST: usize = 64;

/// The part of a value that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub enum InvalidValue {
    /// The whole value.
    Value,
    /// This part.
    Part(String),
    /// A reason in words, for a value that must not be shown.
    Because(String),
}

impl InvalidValue {
    fn because(why: &str) -> Self {
        InvalidValue::Because(why.to_owned())
    }
}

/// The text without the spaces around it.
pub(super) fn text(value: &OsStr) -> Result<&str, InvalidValue> {
    value.to_str().map(str::trim).ok_or(InvalidValue::Value)
}

#[expect(clippy::unnecessary_wraps, reason = "the others can fail")]
pub fn path(value: &OsStr) -> Result<PathBuf, InvalidValue> {
    Ok(PathBuf::from(value))
}

/// A path that ends in a file name in UTF-8.
pub fn file_name(value: &OsStr) -> Result<PathBuf, InvalidValue> {
    let path = Path::new(value);
    let names_folder = value.as_encoded_bytes().ends_with(b"/");
    let name = path.file_name().and_then(OsStr::to_str).filter(|_| !names_folder);
    name.map(|_| path.to_owned()).ok_or(InvalidValue::Value)
}

pub fn choice<T: Copy>(value: &OsStr, choices: &[(&str, T)]) -> Result<T, InvalidValue> {
    let text = text(value)?;
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or(InvalidValue::Value)
}

/// A switch. `true` and `false` are accepted because TOML and many programs use them.
pub fn switch(value: &OsStr) -> Result<bool, InvalidValue> {
    choice(value, &[("on", true), ("off", false), ("true", true), ("false", false)])
}

pub fn number<T: FromStr + PartialOrd>(value: &OsStr, range: RangeInclusive<T>) -> Result<T, InvalidValue> {
    digits(text(value)?).filter(|number| range.contains(number)).ok_or(InvalidValue::Value)
}

/// Parses digits only, without a sign.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A size: `1073741824`, `1024M`, `1G`, `1GB` and `1GiB` are equal, as for containers.
pub fn size(value: &OsStr, least: u64) -> Result<u64, InvalidValue> {
    bytes(text(value)?).filter(|bytes| *bytes >= least).ok_or(InvalidValue::Value)
}

fn bytes(text: &str) -> Option<u64> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (value, unit) = text.split_at_checked(end)?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    digits::<u64>(value)?.checked_mul(1 << shift)
}

pub fn seconds(value: &OsStr) -> Result<Duration, InvalidValue> {
    above_zero(seconds_or_none(value)?)
}

pub fn seconds_or_none(value: &OsStr) -> Result<Duration, InvalidValue> {
    seconds_up_to(value, LONGEST)
}

pub fn lifetime(value: &OsStr) -> Result<Duration, InvalidValue> {
    above_zero(seconds_up_to(value, LONGEST_KEPT)?)
}

fn above_zero(time: Duration) -> Result<Duration, InvalidValue> {
    if time.is_zero() { Err(InvalidValue::Value) } else { Ok(time) }
}

fn seconds_up_to(value: &OsStr, longest: f64) -> Result<Duration, InvalidValue> {
    let seconds = text(value)?.parse().ok().filter(|seconds| (0.0..=longest).contains(seconds));
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or(InvalidValue::Value)
}

/// A number of requests in a window.
pub fn requests(value: &OsStr) -> Result<u32, InvalidValue> {
    number(value, 0..=MOST_REQUESTS)
}

pub fn address(value: &OsStr) -> Result<SocketAddr, InvalidValue> {
    text(value)?.parse().map_err(|_| InvalidValue::Value)
}

/// The parts of a list, without empty ones, so that a trailing comma is harmless.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

pub fn networks(value: &OsStr) -> Result<Vec<IpNet>, InvalidValue> {
    parts(text(value)?).map(|part| network(part).ok_or_else(|| InvalidValue::Part(part.to_owned()))).collect()
}

/// A network, or an address as a network of one.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.ok().map(canonical)
}

/// The network with IPv4-mapped IPv6 as IPv4, like the addresses that it is compared with.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let network = network.trunc();
    let IpNet::V6(six) = network else { return network };
    let four = six.addr().to_ipv4_mapped().zip(six.prefix_len().checked_sub(MAPPED));
    let four = four.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    four.map_or(network, IpNet::V4)
}

/// A list of origins as browsers send them: scheme, host, port, no path.
pub fn origins(value: &OsStr) -> Result<Vec<String>, InvalidValue> {
    let origins: Vec<String> = parts(text(value)?).map(str::to_owned).collect();
    // Browsers send lower case, so upper case would never match.
    let is_upper = |letter: char| letter.is_ascii_uppercase();
    let is_sound = |host: &str| is_host(host) && !host.contains(is_upper);
    let wrong = origins.iter().find(|origin| !without_scheme(origin).is_some_and(is_sound));
    match wrong {
        Some(origin) if origins != ["*"] => Err(InvalidValue::Part(origin.clone())),
        _ => Ok(origins),
    }
}

/// Whether the value of any setting may be a URL or connection string with a password.
pub fn may_hold_secret(text: &str) -> bool {
    text.contains(['@', '?']) || text.contains('=') && text.contains(['/', ';', '#'])
}

/// The URL of a trace receiver.
pub fn receiver(value: &OsStr) -> Result<String, InvalidValue> {
    let text = text(value)?;
    if text.contains(['@', '?', '#']) {
        let why = "it contains a user, password, ? or #; put credentials in OTEL_EXPORTER_OTLP_HEADERS";
        return Err(InvalidValue::because(why));
    }
    let host = without_scheme(text).unwrap_or_default().split('/').next().unwrap_or_default();
    let is_sound = text.bytes().all(|letter| letter.is_ascii_graphic()) && text.parse::<hyper::Uri>().is_ok();
    if is_host(host) && is_sound { Ok(text.to_owned()) } else { Err(InvalidValue::Value) }
}

/// The URL of a store.
pub fn store(value: &OsStr) -> Result<Url, InvalidValue> {
    let url: Url = text(value)?.parse().map_err(|_| InvalidValue::Value)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidValue::because(
            "it contains a user or password; credentials have their own variables",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(InvalidValue::because("it contains ? or #; credentials have their own variables"));
    }
    let is_sound = match url.scheme() {
        "file" => url.to_file_path().is_ok_and(|path| path.is_absolute()),
        "s3" | "gs" | "az" => url.host_str().is_some_and(|host| !host.is_empty()) && url.port().is_none(),
        _ => false,
    };
    if is_sound { Ok(url) } else { Err(InvalidValue::Value) }
}

fn without_scheme(text: &str) -> Option<&str> {
    text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))
}

/// Whether the text is a host name or address with an optional port.
fn is_host(text: &str) -> bool {
    let after_bracket = text.rfind(']').unwrap_or_default();
    let parts = text.rsplit_once(':').filter(|(host, _)| host.len() > after_bracket);
    let (host, port) = parts.unwrap_or((text, "1"));
    let host_is_sound = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => is_name(host),
    };
    host_is_sound && digits::<u16>(port).is_some_and(|port| port > 0)
}

/// Whether the text may be the name of a host or an API key.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    !text.is_empty() && text.chars().all(allowed)
}

/// A filter of `tracing`. Refuses a word that is not a level, which is nearly always a typing mistake: `tracing` would
/// take it for a target and log almost nothing.
pub fn filter(value: &OsStr) -> Result<String, InvalidValue> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let text = text(value)?;
    for part in parts(text) {
        let is_word = part.chars().all(char::is_alphanumeric);
        if is_word && part != "meshgate" && !LEVELS.contains(&part.to_ascii_lowercase().as_str()) {
            return Err(InvalidValue::Part(part.to_owned()));
        }
    }
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|_| InvalidValue::Value)
}

/// The list of API keys. Errors name a pair by its number: if name and key are swapped, the name is the secret.
pub fn api_keys(value: &OsStr) -> Result<Vec<ApiKey>, InvalidValue> {
    let mut keys: Vec<ApiKey> = Vec::new();
    let pairs = text(value)?.split([',', '\n']).map(str::trim).filter(|pair| !pair.is_empty());
    for (pair, number) in pairs.zip(1..) {
        let key = api_key(pair, number).map_err(InvalidValue::Because)?;
        if let Some(other) = keys.iter().position(|other| other.name == key.name) {
            return Err(InvalidValue::Because(format!(
                "pairs {} and {number} have the same name",
                other + 1
            )));
        }
        if let Some(other) = keys.iter().position(|other| other.digest == key.digest) {
            return Err(InvalidValue::Because(format!("pairs {} and {number} have the same key", other + 1)));
        }
        keys.push(key);
    }
    if keys.is_empty() { Err(InvalidValue::because("it is empty")) } else { Ok(keys) }
}

/// The API key of the `number`th pair; the error does not quote it.
fn api_key(pair: &str, number: usize) -> Result<ApiKey, String> {
    let (name, key) = pair.split_once(':').ok_or_else(|| format!("pair {number} has no colon"))?;
    let (name, limit) = name.split_once('@').map_or((name, None), |(name, limit)| (name, Some(limit)));
    let requests = limit.map(|limit| requests(limit.as_ref())).transpose();
    let requests = requests.map_err(|_| format!("the limit of pair {number} is not {REQUESTS}"))?;
    if !is_name(name) || name.len() > KEY_NAME_MOST {
        return Err(format!(
            "the name of pair {number} is not 1 to {KEY_NAME_MOST} letters, digits, dots, dashes or underscores"
        ));
    }
    if key.len() < KEY_LEAST {
        return Err(format!("the key of pair {number} has fewer than {KEY_LEAST} characters"));
    }
    if !key.chars().all(|letter| letter.is_ascii_graphic()) {
        return Err(format!("the key of pair {number} has characters that a header cannot hold"));
    }
    let digest = *blake3::hash(key.as_bytes()).as_bytes();
    Ok(ApiKey { name: name.to_owned(), digest, requests })
}

/// A text that no log may show.
#[derive(Debug, Clone)]
pub struct Secret(SecretString);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

/// The URL of a Redis. Errors do not quote it, since it may hold a password.
pub fn redis_url(value: &OsStr) -> Result<Secret, InvalidValue> {
    let text = text(value)?;
    let info: ConnectionInfo = text.parse().map_err(|_| not_a_redis(text))?;
    if info.redis_settings().db() < 0 {
        return Err(InvalidValue::Value);
    }
    if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
        let why = "#insecure is not allowed; SSL_CERT_FILE names the certificates to trust";
        return Err(InvalidValue::because(why));
    }
    Ok(Secret::new(text.to_owned()))
}

/// Says why a URL is not that of a Redis, if it is one of several that belong together.
fn not_a_redis(text: &str) -> InvalidValue {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let has = |word: &str| scheme.to_ascii_lowercase().contains(word);
    // A comma of a password comes before the last @.
    let hosts = rest.rsplit('@').next().and_then(|rest| rest.split('/').next());
    if has("sentinel") {
        let why = "Sentinel is not supported; name an address that always leads to the master";
        return InvalidValue::because(why);
    }
    if has("cluster") || hosts.is_some_and(|hosts| hosts.contains(',')) {
        return InvalidValue::because("several servers and clusters are not supported; name one Redis");
    }
    InvalidValue::Value
}

pub fn secret(value: &OsStr) -> Result<Secret, InvalidValue> {
    value.to_str().map(|text| Secret::new(text.to_owned())).ok_or(InvalidValue::Value)
}

/// The host in the form of a URL: an IPv6 address gets brackets.
pub fn redis_host(value: &OsStr) -> Result<String, InvalidValue> {
    let text = text(value)?;
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{text}]"));
    }
    // 0.0.0.0, for one, can be bound but not connected to.
    let callable = format!("redis://{text}").parse::<ConnectionInfo>().is_ok();
    if is_name(text) && callable { Ok(text.to_owned()) } else { Err(InvalidValue::Value) }
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
