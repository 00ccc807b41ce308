//! Checks the URL of a webhook when its job is submitted, so that a client learns at once what can never work.

use url::Url;

use super::address::AddressPolicy;
use crate::domain::{ConversionError, ErrorCode};

/// Longest URL, in characters. A parsed URL is ASCII.
pub const MAX_URL_LENGTH: usize = 2048;

/// # Errors
/// `webhook_refused`
pub fn check(url: &Url, addresses: &AddressPolicy) -> Result<(), ConversionError> {
    if url.as_str().len() > MAX_URL_LENGTH {
        return Err(refused(format!("the webhook's URL is longer than {MAX_URL_LENGTH} characters")));
    }
    if !["https", "http"].contains(&url.scheme()) {
        return Err(refused("the webhook's URL does not begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("the webhook's URL contains a user or password; verify the signature instead"));
    }
    if url.port() == Some(0) {
        return Err(refused("the webhook's URL has port 0, on which nothing can listen"));
    }
    let host = addresses.check_host(url);
    host.map_err(|_| {
        refused("the webhook's URL has an address that is not public, and WEBHOOK_ALLOW does not name it")
    })
}

/// The error of every webhook while there is no secret.
pub fn no_secret() -> ConversionError {
    refused("webhooks are off, since the operator has set no WEBHOOK_SECRET; ask for the job's state instead")
}

fn refused(why: impl Into<String>) -> ConversionError {
    ConversionError::new(ErrorCode::WebhookRefused, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WebhookAllow;

    /// The sentence of the refusal, if there is one.
    fn why(url: &str) -> Option<String> {
        let allow = WebhookAllow { names: vec![], networks: vec!["10.0.0.0/8".parse().unwrap()] };
        let error = check(&url.parse().unwrap(), &AddressPolicy::new(allow)).err()?;
        assert_eq!(error.code, ErrorCode::WebhookRefused);
        Some(error.detail)
    }

    #[test]
    fn urls_that_can_work_are_accepted() {
        for url in [
            "https://example.com/hook",
            "http://example.com:8080/hook?token=1#top",
            "https://8.8.8.8",
            "https://[2606:4700:4700::1111]:8443/",
            "http://10.1.2.3/",
            "http://0xa.1/",
            "http://localhost/",
        ] {
            assert_eq!(why(url), None, "{url}");
        }
        let start = "https://example.com/";
        let long = format!("{start}{}", "a".repeat(MAX_URL_LENGTH - start.len()));
        assert_eq!(why(&long), None);
        assert!(why(&format!("{long}a")).unwrap().ends_with("is longer than 2048 characters"));
    }

    #[test]
    fn urls_that_can_never_work_are_refused() {
        for url in
            ["ftp://example.com/", "file:///etc/passwd", "data:,a", "redis://example.com/", "gopher://a/"]
        {
            let why = why(url).unwrap();
            assert!(why.ends_with("does not begin with https:// or http://"), "{url}: {why}");
        }
        for url in
            ["https://me@example.com/", "https://me:secret@example.com/", "https://:secret@example.com/"]
        {
            let why = why(url).unwrap();
            assert!(why.contains("a user or password") && !why.contains("secret"), "{url}: {why}");
        }
        for url in ["https://example.com:0/", "http://example.com:00000/hook", "http://8.8.8.8:0"] {
            assert!(why(url).unwrap().contains("port 0"), "{url}");
        }
        for url in [
            "http://169.254.169.254/latest/meta-data/",
            "http://127.1/",
            "http://0x7f000001/",
            "http://[::ffff:7f00:1]/",
            "http://[fd00:ec2::254]/",
            "https://example.com@127.0.0.1/",
            "http:127.0.0.1",
            "http:\\\\127.0.0.1\\",
        ] {
            assert!(why(url).is_some(), "{url}");
        }
    }
}
