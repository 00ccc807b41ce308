//! The operations of the queue: each one runs its script.

use std::time::Duration;

use ::redis::cmd;
use futures_util::FutureExt;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::keys::{self, PREFIX};
use super::queue::{RedisQueue, millis};
use super::record::{self, Fields, to_json, tokens, uuids};
use super::scripts;
use crate::domain::Client;
use crate::jobs::errors;
use crate::jobs::job::{DeliveryAttempt, GiveBack, Job, MAX_DELIVERY_ATTEMPTS, Progress, State, Timestamp};
use crate::jobs::queue::{
    Claim, Delivery, End, Hint, Hold, IDEMPOTENCY_LIFE, Key, NewJob, NextAttempt, Page, Pending, Queue,
    QueueError, RESERVATION_LIFE, Removed, Reservation, Stats, Submission, Swept, TakeOrder,
};

impl Queue for RedisQueue {
    fn name(&self) -> &str {
        self.redis.address()
    }

    fn reserve<'a>(&'a self, key: &'a Key, token: Uuid) -> Pending<'a, Reservation> {
        let mut script = scripts::RESERVE.key(PREFIX);
        script.arg(keys::idempotency(key)).arg(token.to_string()).arg(millis(RESERVATION_LIFE));
        async move {
            let reserved: bool = self.run_script(script).await?;
            Ok(if reserved { Reservation::Reserved } else { Reservation::InFlight })
        }
        .boxed()
    }

    fn release<'a>(&'a self, key: &'a Key, token: Uuid) -> Pending<'a, ()> {
        let mut script = scripts::RELEASE.key(PREFIX);
        script.arg(keys::idempotency(key)).arg(token.to_string());
        self.run_script::<()>(script).boxed()
    }

    fn submit(&self, job: NewJob) -> Pending<'_, Submission> {
        async move {
            let NewJob { id, spec, idempotency } = job;
            let (key, token, fingerprint) = idempotency
                .map(|used| {
                    (keys::idempotency(&used.key), used.token.to_string(), used.fingerprint.to_string())
                })
                .unwrap_or_default();
            // Made now, so that whatever ends the job needs no ID for the delivery.
            let delivery = spec.webhook_url.as_ref().map(|_| Uuid::now_v7().to_string());
            let mut script = scripts::SUBMIT.key(PREFIX);
            script
                .arg(id.to_string())
                .arg(to_json(&spec)?)
                .arg(spec.client.to_string())
                .arg(spec.priority.word())
                .arg(spec.bytes())
                .arg(spec.input.len())
                .arg(delivery.unwrap_or_default())
                .arg(self.ttl())
                .arg(self.limits.jobs)
                .arg(self.limits.client_jobs)
                .arg(self.limits.bytes)
                .arg(self.limits.client_bytes)
                .arg(key)
                .arg(token)
                .arg(fingerprint)
                .arg(millis(IDEMPOTENCY_LIFE));
            let (answer, fields): (String, Fields) = self.run_script(script).await?;
            match answer.as_str() {
                "new" => Ok(Submission::New(record::job(&fields)?)),
                "replayed" => Ok(Submission::Replayed(record::job(&fields)?)),
                refusal => record::refusal(refusal).map(Submission::Refused),
            }
        }
        .boxed()
    }

    fn job(&self, id: Uuid) -> Pending<'_, Option<Job>> {
        async move {
            let fields: Fields = self.run(cmd("HGETALL").arg(keys::job(id)).take()).await?;
            if fields.is_empty() { Ok(None) } else { record::job(&fields).map(Some) }
        }
        .boxed()
    }

    fn position(&self, id: Uuid) -> Pending<'_, Option<u64>> {
        let mut script = scripts::POSITION.key(PREFIX);
        script.arg(id.to_string());
        self.run_script::<Option<u64>>(script).boxed()
    }

    fn list<'a>(
        &'a self,
        client: &'a Client,
        state: Option<State>,
        before: Option<Uuid>,
        size: usize,
    ) -> Pending<'a, Page> {
        let mut script = scripts::LIST.key(PREFIX);
        script
            .arg(client.to_string())
            .arg(state.map_or("", State::word))
            .arg(before.map_or_else(String::new, |id| id.to_string()))
            .arg(size);
        async move {
            let (more, records): (bool, Vec<Fields>) = self.run_script(script).await?;
            // The last record may be one that cannot be read.
            let next = records.last().filter(|_| more).and_then(|fields| fields.get("id")?.parse().ok());
            // Another version wrote it. One such job must not hide the others.
            let jobs = records.iter().filter_map(|fields| record::job(fields).ok()).collect();
            Ok(Page { jobs, next })
        }
        .boxed()
    }

    fn take_in<'a>(&'a self, order: TakeOrder, worker: &'a str) -> Pending<'a, Option<Claim>> {
        async move {
            loop {
                let mut script = scripts::TAKE.key(PREFIX);
                script.arg(worker).arg(millis(self.times.lease));
                script.arg(order == TakeOrder::RequestsFirst);
                let found: Option<(String, u64, Fields)> = self.run_script(script).await?;
                let Some((id, token, fields)) = found else { return Ok(None) };
                match record::job(&fields) {
                    Ok(job) => return Ok(Some(Claim { job, token })),
                    Err(error) => self.discard(&id, token, &error).await?,
                }
            }
        }
        .boxed()
    }

    fn claim(&self, id: Uuid) -> Pending<'_, Option<Claim>> {
        async move {
            let fields: Fields = self.run(cmd("HGETALL").arg(keys::job(id)).take()).await?;
            if fields.is_empty() { Ok(None) } else { record::claim(&fields) }
        }
        .boxed()
    }

    fn renew(&self, id: Uuid, token: u64, progress: Option<Progress>) -> Pending<'_, Hold> {
        async move {
            let progress = progress.map(|progress| to_json(&progress)).transpose()?;
            let mut script = scripts::RENEW.key(PREFIX);
            script
                .arg(id.to_string())
                .arg(token)
                .arg(millis(self.times.lease))
                .arg(progress.unwrap_or_default());
            let hold: String = self.run_script(script).await?;
            Ok(match hold.as_str() {
                "held" => Hold::Held,
                "cancelled" => Hold::Cancelled,
                _ => Hold::Lost,
            })
        }
        .boxed()
    }

    fn finish(&self, id: Uuid, token: u64, end: End) -> Pending<'_, bool> {
        async move {
            let content = match &end {
                End::Succeeded(result) => to_json(result)?,
                End::Failed(error) => to_json(error)?,
                End::Cancelled => String::new(),
            };
            let mut script = scripts::FINISH.key(PREFIX);
            script.arg(id.to_string()).arg(token).arg(end.state().word()).arg(content).arg(self.ttl());
            self.run_script(script).await
        }
        .boxed()
    }

    fn give_back(&self, id: Uuid, token: u64, reason: GiveBack) -> Pending<'_, bool> {
        async move {
            let pause = reason.is_paused().then(|| millis(self.times.retry_pause).to_string());
            // The script puts the number of lost workers for `%d`.
            let final_error = errors::of_last(reason, "%d").map(|error| to_json(&error)).transpose()?;
            let mut script = scripts::GIVE_BACK.key(PREFIX);
            script
                .arg(id.to_string())
                .arg(token)
                .arg(reason.word())
                .arg(reason.counts())
                .arg(pause.unwrap_or_default())
                .arg(self.ttl())
                .arg(final_error.unwrap_or_default());
            self.run_script(script).await
        }
        .boxed()
    }

    fn cancel(&self, id: Uuid) -> Pending<'_, Option<Job>> {
        let mut script = scripts::CANCEL.key(PREFIX);
        script.arg(id.to_string()).arg(self.ttl());
        async move {
            let fields: Option<Fields> = self.run_script(script).await?;
            fields.as_ref().map(record::job).transpose()
        }
        .boxed()
    }

    fn remove(&self, id: Uuid) -> Pending<'_, Option<Removed>> {
        let mut script = scripts::REMOVE.key(PREFIX);
        script.arg(id.to_string());
        async move {
            let removed: Option<(usize, String)> = self.run_script(script).await?;
            Ok(removed.map(|(files, found)| Removed { id, files, tokens: tokens(&found) }))
        }
        .boxed()
    }

    fn sweep(&self) -> Pending<'_, Swept> {
        self.sweep_all().boxed()
    }

    fn extend_leases(&self) -> Pending<'_, u64> {
        let mut script = scripts::EXTEND_LEASES.key(PREFIX);
        script.arg(millis(self.times.lease));
        self.run_script::<u64>(script).boxed()
    }

    fn unknown<'a>(&'a self, ids: &'a [Uuid]) -> Pending<'a, Vec<Uuid>> {
        let mut script = scripts::UNKNOWN.key(PREFIX);
        for id in ids {
            script.arg(id.to_string());
        }
        async move {
            let unknown: Vec<String> = self.run_script(script).await?;
            Ok(uuids(&unknown))
        }
        .boxed()
    }

    fn stats(&self) -> Pending<'_, Stats> {
        async move {
            let ([jobs @ .., bytes], deliveries, oldest): ([u64; 7], u64, Option<u64>) =
                self.run_script(scripts::STATS.key(PREFIX)).await?;
            Ok(Stats { jobs, bytes, oldest_queued_at: oldest.map(Timestamp), deliveries })
        }
        .boxed()
    }

    fn take_delivery(&self) -> Pending<'_, Option<Delivery>> {
        async move {
            loop {
                let mut script = scripts::TAKE_DELIVERY.key(PREFIX);
                script.arg(millis(self.times.delivery_lease));
                let taken: Option<Fields> = self.run_script(script).await?;
                let Some(fields) = taken else { return Ok(None) };
                // A process of the version that wrote an unreadable record may take it after this lease.
                if let Ok(delivery) = record::delivery(&fields) {
                    return Ok(Some(delivery));
                }
            }
        }
        .boxed()
    }

    fn record_delivery_attempt<'a>(
        &'a self,
        delivery: &'a Delivery,
        attempt: DeliveryAttempt,
        next: NextAttempt,
    ) -> Pending<'a, bool> {
        async move {
            let pause = match next {
                NextAttempt::Never => String::new(),
                NextAttempt::After(pause) => millis(pause).to_string(),
            };
            let mut script = scripts::RECORD_DELIVERY_ATTEMPT.key(PREFIX);
            script.arg(delivery.job.id.to_string()).arg(delivery.token).arg(to_json(&attempt)?);
            script.arg(pause).arg(MAX_DELIVERY_ATTEMPTS);
            self.run_script(script).await
        }
        .boxed()
    }

    fn postpone_delivery<'a>(&'a self, delivery: &'a Delivery, pause: Duration) -> Pending<'a, bool> {
        let mut script = scripts::POSTPONE_DELIVERY.key(PREFIX);
        script.arg(delivery.job.id.to_string()).arg(delivery.token).arg(millis(pause));
        self.run_script::<bool>(script).boxed()
    }

    fn redeliver(&self, id: Uuid) -> Pending<'_, bool> {
        let mut script = scripts::REDELIVER.key(PREFIX);
        script.arg(id.to_string());
        self.run_script::<bool>(script).boxed()
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }
}

impl RedisQueue {
    /// Ends a job whose record this version cannot read as failed, so that it does not stop the queue.
    async fn discard(&self, id: &str, token: u64, error: &QueueError) -> Result<(), QueueError> {
        tracing::error!(job = id, %error, "the record of a job cannot be read; the job fails");
        let mut script = scripts::DISCARD.key(PREFIX);
        script.arg(id).arg(token).arg(self.ttl()).arg(to_json(&errors::unreadable())?);
        self.run_script(script).await
    }
}
