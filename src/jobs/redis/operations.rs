//! The operations of the queue: each one runs its script.

use std::time::Duration;

use ::redis::cmd;
use futures_util::FutureExt;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::keys::{self, PREFIX};
use super::queue::RedisQueue;
use super::record::{self, Fields, to_json};
use super::scripts;
use crate::domain::{Client, ConversionError, ErrorCode};
use crate::jobs::job::{DeliveryAttempt, GiveBack, Job, Priority, Progress, State, Timestamp};
use crate::jobs::queue::{
    Claim, Delivery, End, Hint, Hold, IDEMPOTENCY_LIFE, Key, NewJob, NextAttempt, Page, Pending, Queue,
    QueueError, RESERVATION_LIFE, Removed, Reservation, Stats, Submission, Swept,
};

/// Leases, and jobs that are too old, that one script of a sweep handles: few enough not to keep others waiting.
const SWEPT_AT_ONCE: usize = 100;

/// Scripts of one sweep at most.
const SWEEPS: usize = 50;

/// Attempts to deliver a webhook that its job keeps.
const MAX_DELIVERIES: usize = 100;

type Ids = Vec<String>;

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
            let priority = match spec.priority {
                Priority::Low => "low",
                Priority::Normal => "normal",
            };
            // Made now, so that whatever ends the job needs no ID for the delivery.
            let delivery = spec.webhook_url.as_ref().map(|_| Uuid::now_v7().to_string());
            let mut script = scripts::SUBMIT.key(PREFIX);
            script
                .arg(id.to_string())
                .arg(to_json(&spec)?)
                .arg(spec.client.to_string())
                .arg(priority)
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
            let jobs: Vec<Job> = records.iter().map(record::job).collect::<Result<_, _>>()?;
            let next = jobs.last().filter(|_| more).map(|job| job.id);
            Ok(Page { jobs, next })
        }
        .boxed()
    }

    fn take<'a>(&'a self, worker: &'a str) -> Pending<'a, Option<Claim>> {
        let mut script = scripts::TAKE.key(PREFIX);
        script.arg(worker).arg(millis(self.leases.job));
        async move {
            let found: Option<(u64, Fields)> = self.run_script(script).await?;
            let Some((token, fields)) = found else { return Ok(None) };
            Ok(Some(Claim { job: record::job(&fields)?, token }))
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
                .arg(millis(self.leases.job))
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
            let (state, content) = match &end {
                End::Succeeded(result) => (State::Succeeded, to_json(result)?),
                End::Failed(error) => (State::Failed, to_json(error)?),
                End::Cancelled => (State::Cancelled, String::new()),
            };
            let mut script = scripts::FINISH.key(PREFIX);
            script.arg(id.to_string()).arg(token).arg(state.word()).arg(content).arg(self.ttl());
            self.run_script(script).await
        }
        .boxed()
    }

    fn give_back(&self, id: Uuid, token: u64, reason: GiveBack) -> Pending<'_, bool> {
        async move {
            let mut script = scripts::GIVE_BACK.key(PREFIX);
            script.arg(id.to_string()).arg(token).arg(reason.word()).arg(self.ttl());
            script.arg(to_json(&out_of_memory())?).arg(to_json(&workers_lost())?);
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
            let removed: Option<(usize, u64)> = self.run_script(script).await?;
            Ok(removed.map(|(files, token)| Removed { id, files, token }))
        }
        .boxed()
    }

    fn sweep(&self) -> Pending<'_, Swept> {
        async move {
            let mut swept = Swept::default();
            for _ in 0..SWEEPS {
                match self.sweep_some(&mut swept).await {
                    Err(error) if swept == Swept::default() => return Err(error),
                    Ok(true) => {}
                    // After an error, what was done is returned; the next sweep finds the rest.
                    Ok(false) | Err(_) => break,
                }
            }
            Ok(swept)
        }
        .boxed()
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
        let mut script = scripts::TAKE_DELIVERY.key(PREFIX);
        script.arg(millis(self.leases.delivery));
        async move {
            let fields: Option<Fields> = self.run_script(script).await?;
            fields.as_ref().map(record::delivery).transpose()
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
            script.arg(pause).arg(MAX_DELIVERIES);
            self.run_script(script).await
        }
        .boxed()
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
    /// How long a job that ends is kept, in milliseconds.
    fn ttl(&self) -> u64 {
        millis(self.limits.ttl)
    }

    /// Sweeps once, and adds to what was done. Returns whether there may be more to do.
    async fn sweep_some(&self, swept: &mut Swept) -> Result<bool, QueueError> {
        let mut script = scripts::SWEEP.key(PREFIX);
        script.arg(SWEPT_AT_ONCE).arg(self.ttl()).arg(to_json(&workers_lost())?);
        let (more, requeued, ended, expired, removed): (bool, Ids, Ids, Ids, Ids) =
            self.run_script(script).await?;
        swept.requeued.extend(uuids(&requeued));
        swept.ended.extend(uuids(&ended));
        swept.expired.extend(uuids(&expired));
        let (removed, _) = removed.as_chunks::<3>();
        swept.removed.extend(removed.iter().filter_map(|[id, files, token]| {
            Some(Removed { id: id.parse().ok()?, files: files.parse().ok()?, token: token.parse().ok()? })
        }));
        Ok(more)
    }
}

/// The error of a job that is not tried again after its workers were lost. The script puts their number for `%d`.
fn workers_lost() -> ConversionError {
    let detail = "the workers that ran this job died %d times, so it is not tried again";
    ConversionError::new(ErrorCode::EngineCrashed, detail)
}

/// The error of a job that ran out of memory too often.
fn out_of_memory() -> ConversionError {
    let detail = "the conversion ran out of memory; give the model less detail, or raise WORKER_MEMORY_LIMIT";
    ConversionError::new(ErrorCode::MemoryLimit, detail)
}

fn uuids(texts: &[String]) -> Vec<Uuid> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
