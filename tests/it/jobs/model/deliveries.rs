//! Webhooks that are taken and sent.

use std::time::Duration;

use meshgate::jobs::{DeliveryAttempt, NextAttempt, Timestamp};
use proptest::sample::Index;

use super::expected::Due;
use super::run::Model;
use super::step::Pick;
use crate::jobs::side::AnyQueue;
use crate::jobs::steps::record_attempt;

/// When a webhook is due that is to be sent after this pause.
fn after(pause: Duration) -> Due {
    if pause.is_zero() { Due::Now } else { Due::Later }
}

impl Model {
    pub async fn take_delivery(&mut self, queue: &AnyQueue) {
        let is_any_due = self.jobs.iter().any(|job| job.due() == Some(Due::Now));
        let Some(delivery) = queue.take_delivery().await.unwrap() else {
            assert!(!is_any_due, "no webhook is taken, but one is due");
            return;
        };
        let number = self.number(delivery.job.id);
        let job = &mut self.jobs[number];
        assert_eq!(job.due(), Some(Due::Now), "{delivery:?}");
        assert_eq!(delivery.job.state, job.state);
        assert_eq!(Some(&delivery.url), job.seen.spec.webhook_url.as_ref());
        assert_eq!(Some(delivery.occurred_at), job.seen.ended_at);
        let webhook = job.webhook.as_mut().unwrap();
        if let Some((id, token)) = webhook.taken {
            assert_eq!(delivery.id, id);
            assert!(delivery.token > token, "{delivery:?}");
        }
        if !webhook.redelivered {
            assert_eq!(delivery.attempts as usize, webhook.attempts.len());
        }
        (webhook.due, webhook.taken) = (Due::Taken, Some((delivery.id, delivery.token)));
        self.deliveries.push((number, delivery));
    }

    pub async fn record_delivery_attempt(
        &mut self,
        queue: &AnyQueue,
        pick: Pick,
        next: NextAttempt,
    ) -> Option<usize> {
        let index = self.delivery(pick)?;
        let is_held = self.is_held(index);
        let (number, delivery) = &self.deliveries[index];
        let error = (next != NextAttempt::Never).then(|| "could not connect".to_owned());
        let attempt = DeliveryAttempt { at: Timestamp(delivery.token), status: Some(503), error };
        assert_eq!(record_attempt(queue, delivery, attempt.clone(), next).await, is_held, "{delivery:?}");
        if !is_held {
            return None;
        }
        let webhook = self.jobs[*number].webhook.as_mut()?;
        webhook.attempts.push(attempt);
        webhook.due = match next {
            NextAttempt::Never => Due::Never,
            NextAttempt::After(pause) => after(pause),
        };
        Some(*number)
    }

    /// Nothing of the record changes.
    pub async fn postpone_delivery(&mut self, queue: &AnyQueue, pick: Pick, pause: Duration) {
        let Some(index) = self.delivery(pick) else { return };
        let is_held = self.is_held(index);
        let (number, delivery) = &self.deliveries[index];
        assert_eq!(queue.postpone_delivery(delivery, pause).await.unwrap(), is_held, "{delivery:?}");
        if let Some(webhook) = self.jobs[*number].webhook.as_mut().filter(|_| is_held) {
            webhook.due = after(pause);
        }
    }

    pub async fn redeliver(&mut self, queue: &AnyQueue, index: Index) -> Option<usize> {
        let number = self.any_job(index)?;
        let job = &mut self.jobs[number];
        let due = job.due();
        // The trait does not say whether this interrupts an attempt that is being made.
        if due == Some(Due::Taken) {
            return None;
        }
        assert_eq!(queue.redeliver(job.id()).await.unwrap(), due.is_some());
        due?;
        let webhook = job.webhook.as_mut()?;
        (webhook.due, webhook.redelivered) = (Due::Now, true);
        Some(number)
    }

    /// Whether the delivery with this number is still leased.
    fn is_held(&self, index: usize) -> bool {
        let (number, delivery) = &self.deliveries[index];
        let job = &self.jobs[*number];
        let taken = job.webhook.as_ref().and_then(|webhook| webhook.taken);
        job.due() == Some(Due::Taken) && taken == Some((delivery.id, delivery.token))
    }

    fn delivery(&self, pick: Pick) -> Option<usize> {
        let all: Vec<usize> = (0..self.deliveries.len()).collect();
        let held: Vec<usize> = all.iter().copied().filter(|index| self.is_held(*index)).collect();
        let deliveries = if pick.held && !held.is_empty() { held } else { all };
        (!deliveries.is_empty()).then(|| *pick.index.get(&deliveries))
    }
}
