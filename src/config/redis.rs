//! Where the Redis is that processes share.

use std::ffi::OsStr;
use std::fmt;
use std::net::Ipv6Addr;

use redis::{ConnectionAddr, ConnectionInfo};

use super::parse::Wrong;
use super::{Reader, settings};

pub const URL: &str = "a URL like redis://host:6379/0, rediss://user:password@host or unix:///run/redis.sock";
pub const HOST: &str = "a host's name or address, without a port";

/// A Redis, and how to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// Checked; it may hold a password.
    pub url: Secret,
    /// The password, where the URL has none.
    pub password: Option<Secret>,
}

/// What no log may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("(secret)")
    }
}

impl Redis {
    /// The Redis that was named, if any.
    pub fn read(reader: &mut Reader) -> Option<Redis> {
        let url = reader.given(&settings::REDIS_URL);
        let host = reader.given(&settings::REDIS_HOST);
        let port = reader.given(&settings::REDIS_PORT);
        let password = reader.given(&settings::REDIS_PASSWORD);
        if url.is_some() && host.is_some() {
            reader.mistake("REDIS_URL and REDIS_HOST are both set; one of them must go".to_owned());
        }
        if url.is_some() && port.is_some() {
            reader.mistake("REDIS_URL and REDIS_PORT are both set; one of them must go".to_owned());
        }
        // Alone it does nothing, and each process would be alone, too.
        if !reader.is_set(&settings::REDIS_URL) && !reader.is_set(&settings::REDIS_HOST) {
            let alone = [("REDIS_PORT", port.is_some()), ("REDIS_PASSWORD", password.is_some())];
            for (name, _) in alone.into_iter().filter(|(_, set)| *set) {
                reader.mistake(format!("{name} is set, and neither REDIS_HOST nor REDIS_URL is"));
            }
        }
        let port = port.unwrap_or_else(|| reader.usual(&settings::REDIS_PORT));
        let url = url.or_else(|| Some(Secret(format!("redis://{}:{port}", host?))))?;
        if password.is_some() && has_password(&url) {
            reader.mistake(
                "REDIS_URL has a password and REDIS_PASSWORD is set; one of them must go".to_owned(),
            );
        }
        Some(Redis { url, password })
    }
}

fn has_password(url: &Secret) -> bool {
    let info = url.expose().parse::<ConnectionInfo>();
    info.is_ok_and(|info| info.redis_settings().password().is_some())
}

/// What is wrong is told without the URL, which may hold a password.
pub fn url(value: &OsStr) -> Result<Secret, Wrong> {
    let text = value.to_str().map(str::trim).ok_or(Wrong::Value)?;
    let info: ConnectionInfo = text.parse().map_err(|_| Wrong::Value)?;
    if info.redis_settings().db() < 0 {
        return Err(Wrong::Value);
    }
    if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
        let why = "#insecure is not taken; SSL_CERT_FILE names the certificates to trust";
        return Err(Wrong::Because(why.to_owned()));
    }
    Ok(Secret(text.to_owned()))
}

pub fn secret(value: &OsStr) -> Result<Secret, Wrong> {
    let text = value.to_str().ok_or_else(|| Wrong::Because("it is no text".to_owned()))?;
    Ok(Secret(text.to_owned()))
}

/// As a URL has it: an IPv6 address in brackets.
pub fn host(value: &OsStr) -> Result<String, Wrong> {
    let text = value.to_str().map(str::trim).ok_or(Wrong::Value)?;
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{text}]"));
    }
    let known = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    let sound = !text.is_empty() && text.chars().all(known);
    // Such as 0.0.0.0, where one can listen but not call.
    let callable = format!("redis://{text}").parse::<ConnectionInfo>().is_ok();
    if sound && callable { Ok(text.to_owned()) } else { Err(Wrong::Value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_redis_can_be_named() {
        for text in [
            "redis://cache",
            "redis://10.0.0.1:7000/3",
            "redis://[fd00::1]:6379",
            " redis://:s%23cret@cache ",
            "rediss://user:secret@cache:6380/1",
            "unix:///run/redis.sock?db=1&user=a&pass=b",
        ] {
            assert_eq!(url(OsStr::new(text)).unwrap().expose(), text.trim(), "{text}");
        }
    }

    #[test]
    fn what_is_no_redis_is_refused() {
        for text in [
            "cache:6379",
            "http://cache",
            "redis://",
            "redis://cache/one",
            "redis://cache/-1",
            "redis://cache:port",
            "redis://:pa#ss@cache",
            "redis://0.0.0.0",
            "unix://",
        ] {
            assert_eq!(url(OsStr::new(text)), Err(Wrong::Value), "{text}");
        }
        let insecure = url(OsStr::new("rediss://:secret@cache#insecure"));
        assert!(matches!(insecure, Err(Wrong::Because(why)) if !why.contains("cache")));
    }

    #[test]
    fn a_host_is_one() {
        for (text, expected) in [("cache", "cache"), ("10.0.0.1", "10.0.0.1"), ("fd00::1", "[fd00::1]")] {
            assert_eq!(host(OsStr::new(text)).as_deref(), Ok(expected));
        }
        for text in ["cache:6379", "redis://cache", "", "a b", "user@cache", "0.0.0.0"] {
            assert_eq!(host(OsStr::new(text)), Err(Wrong::Value), "{text}");
        }
    }
}
