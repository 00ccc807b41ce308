//! The server that a command talks to.

use std::env;
use std::ffi::OsStr;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretSlice};
use url::Url;

use super::api::Api;
use crate::cli::failure::Failure;
use crate::config::Sources;

/// The variable with the server's URL.
const SERVER: &str = "MESHGATE_SERVER";
/// The variable with the API key. There is no option for it: other users of the machine can see those.
const API_KEY: &str = "MESHGATE_API_KEY";

#[derive(Debug, clap::Args)]
pub struct ServerArgs {
    #[arg(long, value_name = "URL", help = "The server, like http://localhost:5000 [env: MESHGATE_SERVER]")]
    server: Option<String>,
}

impl ServerArgs {
    /// Returns a client of the server.
    ///
    /// # Errors
    /// A usage error when no server is named, or the URL or the key is wrong.
    pub fn api(&self) -> Result<Api, Failure> {
        let server = self.server.clone().or_else(|| env::var(SERVER).ok());
        let server = server.filter(|text| !text.trim().is_empty()).ok_or_else(|| {
            Failure::usage("no server; add --server URL, or set MESHGATE_SERVER, like http://localhost:5000")
        })?;
        // The URL is not shown, since it may hold a password.
        let url = parse(&server).ok_or_else(|| {
            Failure::usage(
                "--server or MESHGATE_SERVER takes an http or https URL like http://localhost:5000",
            )
        })?;
        let key = Sources::environment().external_secret(API_KEY).map_err(Failure::Usage)?;
        let key = key.map(|key| authorization(key.value.text())).transpose()?;
        Api::new(url, key)
    }
}

/// Returns the URL with a path that ends with a slash.
fn parse(text: &str) -> Option<Url> {
    let mut url = Url::parse(text.trim()).ok()?;
    let has_login = !url.username().is_empty() || url.password().is_some();
    let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
    if !is_http || has_login || url.query().is_some() || url.fragment().is_some() {
        return None;
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Some(url)
}

/// The header with an API key; its `Debug` does not show it.
fn authorization(key: &OsStr) -> Result<HeaderValue, Failure> {
    let key = key.as_encoded_bytes().trim_ascii();
    let header = SecretSlice::from([b"Bearer ".as_slice(), key].concat());
    let header = HeaderValue::from_bytes(header.expose_secret());
    let mut header = header
        .map_err(|_| Failure::usage("MESHGATE_API_KEY holds a control character; set it to the key alone"))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_http_url() {
        for (text, url) in [
            ("http://localhost:5000", "http://localhost:5000/"),
            (" https://example.com/meshgate\n", "https://example.com/meshgate/"),
            ("https://[::1]/a/", "https://[::1]/a/"),
        ] {
            assert_eq!(parse(text).unwrap().as_str(), url);
        }
        for text in [
            "localhost:5000",
            "example.com",
            "ftp://a/",
            "http://",
            "http://user:word@a/",
            "http://a/?b",
            "http://a/#b",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let header = authorization(OsStr::new(" abcdefghijklmnop\n")).unwrap();
        assert_eq!(header, "Bearer abcdefghijklmnop");
        assert!(!format!("{header:?}").contains("abc"));
        assert!(authorization(OsStr::new("abc\ndef")).is_err());
    }
}
