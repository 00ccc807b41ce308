//! The settings of the Redis that processes share.

use redis::ConnectionInfo;

use super::reader::Reader;
use super::settings;
use super::values::Secret;

/// The address and credentials of a Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// A valid URL, which may hold a password.
    pub url: Secret,
    /// The password, if it is not in the URL.
    pub password: Option<Secret>,
}

impl Redis {
    /// Reads the settings; `None` if no Redis is set.
    pub fn read(reader: &mut Reader) -> Option<Redis> {
        let url = reader.given(&settings::REDIS_URL);
        let host = reader.given(&settings::REDIS_HOST);
        let port = reader.given(&settings::REDIS_PORT);
        let password = reader.given(&settings::REDIS_PASSWORD);
        for (name, is_set) in [("REDIS_HOST", host.is_some()), ("REDIS_PORT", port.is_some())] {
            if is_set && url.is_some() {
                reader.mistake(format!("REDIS_URL and {name} are both set; unset one of them"));
            }
        }
        // Without an address these would have no effect, and processes would silently share nothing.
        if !reader.is_set(&settings::REDIS_URL) && !reader.is_set(&settings::REDIS_HOST) {
            for (name, is_set) in [("REDIS_PORT", port.is_some()), ("REDIS_PASSWORD", password.is_some())] {
                if is_set {
                    reader.mistake(format!("{name} is set, but neither REDIS_HOST nor REDIS_URL is"));
                }
            }
        }
        let port = port.unwrap_or_else(|| reader.default(&settings::REDIS_PORT));
        let url = url.or_else(|| Some(Secret::new(format!("redis://{}:{port}", host?))))?;
        if password.is_some() && has_password(&url) {
            reader.mistake("REDIS_URL has a password and REDIS_PASSWORD is set; use only one");
        }
        Some(Redis { url, password })
    }
}

/// Whether a valid URL holds a password.
pub fn has_password(url: &Secret) -> bool {
    let info = url.expose().parse::<ConnectionInfo>();
    info.is_ok_and(|info| info.redis_settings().password().is_some())
}
