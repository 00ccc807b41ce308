//! Sends one webhook, to an address that is allowed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::Response;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use tokio::time::timeout;
use url::Url;

use super::address::{AddressError, AddressPolicy};
use super::check;
use super::signature::Signer;
use crate::causes;
use crate::config;
use crate::domain::ConversionError;

/// How long a receiver may take, from resolving its name to the headers of its response.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// How much of a response is read, and for how long. Its content does not matter, but a receiver may log an error if the
/// connection ends before it has sent all of a short one.
const MOST_READ: usize = 64 << 10;
const READ_WITHIN: Duration = Duration::from_secs(1);

/// Signs and sends webhooks. Clones share everything.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    addresses: Arc<AddressPolicy>,
    signer: Signer,
    /// [`TIMEOUT`], unless a test has less time.
    pub timeout: Duration,
}

/// An attempt to send a webhook.
pub struct Message {
    /// The same for all attempts.
    pub id: String,
    /// The time of this attempt, in seconds since 1970.
    pub timestamp: u64,
    pub body: String,
}

/// What matters of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The time in `Retry-After`.
    pub retry_after: Option<Duration>,
}

/// Why there was no response, in words for the client whose webhook it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("the certificate could not be verified")]
    Certificate,
    #[error("the TLS connection failed")]
    Tls,
    #[error("could not connect")]
    Connect,
    #[error("the connection ended without a response")]
    NoResponse,
}

impl Client {
    /// # Errors
    /// A sentence, when the system has no certificates of authorities.
    pub fn new(config: &config::Webhooks) -> Result<Self, String> {
        let addresses = Arc::new(AddressPolicy::new(config.allow.clone()));
        let http = reqwest::Client::builder()
            .user_agent(concat!("meshgate/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Resolver(Arc::clone(&addresses)))
            // A redirect could lead anywhere, and a proxy would resolve names by itself.
            .redirect(Policy::none())
            .no_proxy()
            .retry(reqwest::retry::never())
            // Each request has its own connection, which ends with it, however much the receiver would still send.
            .http1_only()
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| format!("webhooks cannot be sent: {}", causes::innermost(&error)))?;
        Ok(Self { http, addresses, signer: Signer::new(&config.secrets), timeout: TIMEOUT })
    }

    /// # Errors
    /// `webhook_refused`
    pub fn check(&self, url: &Url) -> Result<(), ConversionError> {
        check::check(url, &self.addresses)
    }

    /// Sends a webhook, and returns any response.
    pub async fn send(&self, url: &Url, message: &Message) -> Result<Answer, SendError> {
        // Hosts that are addresses are not resolved.
        self.addresses.check_host(url)?;
        let Message { id, timestamp, body } = message;
        let request = self
            .http
            .post(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", self.signer.sign(id, *timestamp, body))
            .body(body.clone());
        let mut response = match timeout(self.timeout, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(SendError::from_reqwest(&error)),
            Err(_) => return Err(SendError::Timeout(self.timeout)),
        };
        let answer =
            Answer { status: response.status().as_u16(), retry_after: retry_after(response.headers()) };
        let _ = timeout(READ_WITHIN, read_some(&mut response)).await;
        Ok(answer)
    }
}

impl SendError {
    fn from_reqwest(error: &reqwest::Error) -> Self {
        if let Some(address) = causes::find::<AddressError>(error) {
            return SendError::Address(*address);
        }
        match causes::find::<rustls::Error>(error) {
            Some(rustls::Error::InvalidCertificate(_)) => SendError::Certificate,
            Some(_) => SendError::Tls,
            None if error.is_connect() => SendError::Connect,
            None => SendError::NoResponse,
        }
    }
}

/// Resolves names to addresses that are allowed. The connection is made to one of these, so that a name which resolves
/// to another address a moment later gains nothing.
struct Resolver(Arc<AddressPolicy>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses = policy.resolve(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

async fn read_some(response: &mut Response) {
    let mut read = 0;
    while read < MOST_READ
        && let Ok(Some(chunk)) = response.chunk().await
    {
        read += chunk.len();
    }
}

/// Returns the time in `Retry-After`, which is a number of seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |text: &str| {
            let headers: HeaderMap = [(RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
            retry_after(&headers)
        };
        assert_eq!(of("120"), Some(Duration::from_mins(2)));
        assert_eq!(of(" 0 "), Some(Duration::ZERO));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_hours(1));
        let wait = of(&date).unwrap();
        assert!((Duration::from_mins(59)..=Duration::from_hours(1)).contains(&wait), "{wait:?}");
        for without in ["", "soon", "-5", "1.5", "Tue, 14 Nov 2023 22:13:20 GMT", "99999999999999999999999"] {
            assert_eq!(of(without), None, "{without}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn errors_are_plain_words() {
        assert_eq!(SendError::Timeout(TIMEOUT).to_string(), "no answer within 15 s");
        let address = SendError::from(AddressError::NameNotPublic);
        assert_eq!(address.to_string(), "the name resolves to an address that is not public");
    }
}
