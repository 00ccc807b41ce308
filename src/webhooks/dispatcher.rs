//! The dispatcher: takes webhooks that are due, sends them, and records each attempt.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::client::{Client, Message, TIMEOUT};
use super::outcome::{self, Outcome};
use super::payload;
use super::places::{Place, Places};
use crate::jobs::job::Timestamp;
use crate::jobs::queue::DELIVERY_LEASE;
use crate::jobs::{Delivery, DeliveryAttempt, Hint, NextAttempt, Queue, QueueError, hinted};
use crate::metrics::Metrics;
use crate::telemetry;

/// Webhooks that are sent at a time. A receiver that does not answer takes a place for [`TIMEOUT`]; one host and one client
/// have only some of them ([`Places`]).
const AT_ONCE: usize = 32;

/// How often the dispatcher looks for webhooks that are due, whatever hints there are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long it waits after the queue did not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// How often, and after what pause, an attempt is recorded again if the queue did not answer.
const RECORD_TRIES: u64 = 5;
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// How long requests may still take after the signal to stop.
const STOP_WITHIN: Duration = Duration::from_secs(3);

// An attempt that outlived its lease would be repeated while it still runs.
const _: () = assert!(DELIVERY_LEASE.as_secs() > TIMEOUT.as_secs() + RECORD_TRIES);

pub struct Dispatcher {
    pub client: Client,
    pub queue: Arc<dyn Queue>,
    pub metrics: Arc<Metrics>,
    pub places: Places,
}

impl Dispatcher {
    /// Sends webhooks until `stop`. Those that have then not been answered in time are sent again when their leases end,
    /// by another process or after the next start.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut hints = self.queue.hints();
        let mut running = JoinSet::new();
        while !stop.is_cancelled() {
            if let Err(error) = self.take_due(&mut running, &stop).await {
                tracing::warn!(%error, "no webhook could be taken");
                stop.run_until_cancelled(sleep(PAUSE)).await;
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(LOOK_EVERY) => {}
                // There is a place for another one.
                Some(_) = running.join_next() => {}
                () = hinted(&mut hints, |hint| hint == Hint::Delivery) => {}
            }
        }
        let last = async { while running.join_next().await.is_some() {} };
        let _ = timeout(STOP_WITHIN, last).await;
    }

    /// Starts to send webhooks while some are due and there are places.
    async fn take_due(
        self: &Arc<Self>,
        running: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<(), QueueError> {
        while running.try_join_next().is_some() {}
        while running.len() < AT_ONCE && !stop.is_cancelled() {
            let Some(delivery) = self.queue.take_delivery().await? else { break };
            let place = match self.places.take(&delivery.job.spec.client, &delivery.url) {
                Ok(place) => place,
                Err(pause) => {
                    let pause = outcome::with_jitter(pause, delivery.id, delivery.token);
                    // If its lease was lost, another process sends it.
                    self.queue.postpone_delivery(&delivery, pause).await?;
                    continue;
                }
            };
            let request = delivery.job.spec.request_id.clone();
            let (job, attempt) = (delivery.job.id, delivery.attempts + 1);
            let span = telemetry::span!("webhook", %job, id = request, attempt);
            running.spawn(Arc::clone(self).deliver(delivery, place).instrument(span));
        }
        Ok(())
    }

    /// Sends a webhook, and records the attempt. Holds the place until then.
    async fn deliver(self: Arc<Self>, delivery: Delivery, _place: Place) {
        let at = Timestamp::now();
        let body = payload::body(&delivery);
        let message = Message { id: delivery.id.to_string(), timestamp: at.0 / 1000, body };
        let sent = self.client.send(&delivery.url, &message).await;
        let outcome = Outcome::new(delivery.id, delivery.attempts, &sent);
        let status = sent.as_ref().ok().map(|answer| answer.status);
        let error = outcome::error(&sent);
        // The path and the query may hold a token of the receiver.
        let host = delivery.url.host_str();
        tracing::info!(
            outcome = outcome.word(),
            host,
            status,
            error,
            "an attempt to deliver a webhook ended"
        );
        self.metrics.webhook_attempt(outcome.word());
        self.record(&delivery, &DeliveryAttempt { at, status, error }, outcome.next_attempt()).await;
    }

    async fn record(&self, delivery: &Delivery, attempt: &DeliveryAttempt, next: NextAttempt) {
        for _ in 0..RECORD_TRIES {
            match self.queue.record_delivery_attempt(delivery, attempt.clone(), next).await {
                // Without the lease, another attempt is on its way, and will be recorded.
                Ok(_) => return,
                Err(error) => tracing::warn!(%error, "an attempt to deliver a webhook could not be recorded"),
            }
            sleep(RECORD_AGAIN).await;
        }
    }
}
