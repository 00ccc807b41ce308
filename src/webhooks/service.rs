//! What the other rooms do with webhooks: check a URL, and run the dispatcher.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use url::Url;

use super::check;
use super::client::Client;
use super::dispatcher::Dispatcher;
use super::places::Places;
use crate::config;
use crate::domain::ConversionError;
use crate::jobs::Queue;
use crate::metrics::Metrics;

/// The webhooks of this process. Clones share everything.
#[derive(Clone)]
pub struct Webhooks {
    /// `None`: there is no secret, and so there are no webhooks.
    client: Option<Client>,
    queue: Arc<dyn Queue>,
    metrics: Arc<Metrics>,
}

impl Webhooks {
    /// # Errors
    /// A sentence, when webhooks are to be sent and the system has no certificates of authorities.
    pub fn new(
        config: &config::Webhooks,
        queue: Arc<dyn Queue>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let client = if config.secrets.is_empty() { None } else { Some(Client::new(config)?) };
        Ok(Self { client, queue, metrics })
    }

    /// Gives receivers another time to answer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        if let Some(client) = &mut self.client {
            client.timeout = timeout;
        }
        self
    }

    /// Checks the URL of a webhook before its job is accepted. A name is resolved only when the webhook is sent.
    ///
    /// # Errors
    /// `webhook_refused`
    pub fn check(&self, url: &Url) -> Result<(), ConversionError> {
        self.client.as_ref().ok_or_else(check::no_secret)?.check(url)
    }

    /// Sends webhooks until `stop`; returns at once if there is no secret. Webhooks that are due then stay in the queue.
    pub async fn run(self, stop: CancellationToken) {
        let Self { client, queue, metrics } = self;
        let Some(client) = client else { return };
        Arc::new(Dispatcher { client, queue, metrics, places: Places::default() }).run(stop).await;
    }
}
