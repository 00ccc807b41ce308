//! Where webhooks are not sent to, whatever a client asks for.

use std::sync::Arc;

use meshgate::config;
use meshgate::domain::ErrorCode;
use meshgate::metrics::Metrics;
use meshgate::webhooks::Webhooks;
use url::Url;

use super::receiver::{Receiver, Reply};
use super::{Sender, open};

#[tokio::test(flavor = "multi_thread")]
async fn loopback_is_not_called() {
    let receiver = Receiver::start(&[Reply::Status(200, "")]).await;
    let sender = Sender::start("");
    for (host, error) in [
        ("localhost", "the name resolves to an address that is not public"),
        ("127.1", "the address is not public"),
        ("[::ffff:7f00:1]", "the address is not public"),
    ] {
        let job = sender.end_job(&receiver.url(host)).await;
        assert_eq!(sender.failure(job).await, (None, error.to_owned()), "{host}");
    }
    assert!(receiver.received().is_empty());
    // They are repeated, since the operator may allow the receiver, or a name may change.
    assert_eq!(sender.pending().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn allowed_names_and_networks_are_called() {
    let receiver = Receiver::start(&[Reply::Status(200, "")]).await;
    for (allow, host, is_called) in [
        ("localhost", "localhost", true),
        ("localhost", "127.0.0.1", false),
        ("127.0.0.0/8, ::1", "localhost", true),
        ("127.0.0.1", "127.1", true),
        ("10.0.0.0/8, example.com", "127.0.0.1", false),
    ] {
        let before = receiver.received().len();
        let sender = Sender::start(allow);
        let job = sender.end_job(&receiver.url(host)).await;
        let attempt = &sender.attempts(job, 1).await[0];
        assert_eq!(attempt.error.is_none(), is_called, "{allow} {host}: {attempt:?}");
        assert_eq!(receiver.received().len() - before, usize::from(is_called));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let target = Receiver::start(&[Reply::Status(200, "")]).await;
    let location = format!("Location: {}\r\n", target.url("127.0.0.1"));
    for status in [301, 302, 303, 307, 308] {
        let redirecting = Receiver::start(&[Reply::Status(status, location.clone().leak())]).await;
        let sender = Sender::start("127.0.0.1");
        let job = sender.end_job(&redirecting.url("127.0.0.1")).await;
        let error = format!("the response was {status}, and redirects are not followed");
        assert_eq!(sender.failure(job).await, (Some(status), error));
        assert_eq!(redirecting.received().len(), 1);
    }
    assert!(target.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_are_checked_before_a_job_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let check = |settings: &config::Webhooks, url: &str| {
        let metrics = Arc::new(Metrics::new().unwrap());
        let webhooks = Webhooks::new(settings, open(folder.path()), metrics).unwrap();
        webhooks.check(&Url::parse(url).unwrap())
    };
    let usual = super::settings("10.0.0.0/8");
    for url in ["https://example.com/hook", "http://10.1.2.3:8080/"] {
        assert_eq!(check(&usual, url), Ok(()));
    }
    for url in ["http://169.254.169.254/", "http://127.1/", "http://[::ffff:7f00:1]/", "ftp://example.com/"] {
        assert_eq!(check(&usual, url).unwrap_err().code, ErrorCode::WebhookRefused, "{url}");
    }
    let off = check(&config::Webhooks::default(), "https://example.com/hook").unwrap_err();
    assert_eq!(off.code, ErrorCode::WebhookRefused);
    assert!(off.detail.contains("WEBHOOK_SECRET"), "{off}");
}
