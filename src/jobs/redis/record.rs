//! The record of a job as a hash.
//!
//! ```text
//!  id spec priority client bytes files created      never change; spec is JSON, and what follows it is part of it
//!  state version token attempts memory expires      numbers, except the state
//!  events                                           JSON, one event a line
//!  started ended worker                             once they are known
//!  tokens                                           once it was taken: the latest ones, one a line
//!  lost                                             the number of workers that it lost, if there were some
//!  progress cancel                                  while it runs
//!  result error                                     JSON, once it has ended
//!  finished                                         the token and the end that its worker reported, once it has
//!  delivery                                         the ID of its webhook, if it has one
//!  delivery_token delivery_attempts deliveries      once the webhook was taken; deliveries are lines of JSON
//!  delivery_lease                                   when the lease of the attempt that runs ends
//! ```

use std::collections::HashMap;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::jobs::job::{Job, State, Timestamp};
use crate::jobs::queue::{Claim, Delivery, QueueError, Refusal};

/// The fields of a record.
pub type Fields = HashMap<String, String>;

/// Reads the record of a job.
pub fn job(fields: &Fields) -> Result<Job, QueueError> {
    let record = Record(fields);
    Ok(Job {
        id: record.required("id", parsed)?,
        spec: record.required("spec", from_json)?,
        state: record.required("state", State::from_word)?,
        version: record.required("version", parsed)?,
        created_at: record.required("created", time)?,
        started_at: record.optional("started", time)?,
        ended_at: record.optional("ended", time)?,
        expires_at: record.required("expires", time)?,
        attempts: record.required("attempts", parsed)?,
        progress: record.optional("progress", from_json)?,
        result: record.optional("result", from_json)?,
        error: record.optional("error", from_json)?,
        cancel_requested: fields.contains_key("cancel"),
        memory_factor: record.required("memory", parsed)?,
        events: record.required("events", from_lines)?,
        deliveries: record.optional("deliveries", from_lines)?.unwrap_or_default(),
    })
}

/// Reads the record of a job as the claim of its attempt; `None` unless it runs.
pub fn claim(fields: &Fields) -> Result<Option<Claim>, QueueError> {
    let job = job(fields)?;
    if job.state != State::Running {
        return Ok(None);
    }
    Ok(Some(Claim { token: Record(fields).required("token", parsed)?, job }))
}

/// Reads the record of a job as a webhook that was taken.
pub fn delivery(fields: &Fields) -> Result<Delivery, QueueError> {
    let (record, job) = (Record(fields), job(fields)?);
    Ok(Delivery {
        id: record.required("delivery", parsed)?,
        url: job.spec.webhook_url.clone().ok_or_else(|| record.unreadable("spec"))?,
        occurred_at: record.required("ended", time)?,
        attempts: record.optional("delivery_attempts", parsed)?.unwrap_or_default(),
        token: record.required("delivery_token", parsed)?,
        job,
    })
}

/// Reads the word with which the script refuses a submission.
pub fn refusal(word: &str) -> Result<Refusal, QueueError> {
    Ok(match word {
        "key_reused" => Refusal::KeyReused,
        "key_in_flight" => Refusal::KeyInFlight,
        "client_jobs" => Refusal::ClientJobs,
        "jobs" => Refusal::Jobs,
        "client_bytes" => Refusal::ClientBytes,
        "bytes" => Refusal::Bytes,
        _ => return Err(QueueError::Failed(format!("redis refused a job for an unknown reason: {word}"))),
    })
}

/// Reads the IDs of jobs.
pub fn uuids(texts: &[String]) -> Vec<Uuid> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Reads the tokens of a job's attempts.
pub fn tokens(lines: &str) -> Vec<u64> {
    lines.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Writes a field. The JSON is one line.
pub fn to_json<T: Serialize>(value: &T) -> Result<String, QueueError> {
    serde_json::to_string(value)
        .map_err(|error| QueueError::Failed(format!("a job cannot be recorded: {error}")))
}

struct Record<'a>(&'a Fields);

impl Record<'_> {
    fn optional<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, QueueError> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        read(text).map(Some).ok_or_else(|| self.unreadable(name))
    }

    fn required<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, QueueError> {
        self.optional(name, read)?.ok_or_else(|| self.unreadable(name))
    }

    fn unreadable(&self, name: &str) -> QueueError {
        let id = self.0.get("id").map_or("without an ID", String::as_str);
        QueueError::Failed(format!(
            "the field {name} of job {id} cannot be read; did another version write it?"
        ))
    }
}

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().map(Timestamp)
}

fn from_json<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

fn from_lines<T: DeserializeOwned>(text: &str) -> Option<Vec<T>> {
    text.lines().map(from_json).collect()
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::domain::{Census, Client, ConversionError, ErrorCode, Format, Options, Stage};
    use crate::jobs::job::{DeliveryAttempt, Event, GiveBack, InputFile, JobSpec, Priority, Progress};
    use crate::jobs::placement::ExecutorChoice;

    fn spec() -> JobSpec {
        JobSpec {
            client: Client::Key("a\nb:{c}".into()),
            priority: Priority::Low,
            input: vec![InputFile {
                name: "名\n前.fbx".to_owned(), hash: blake3::hash(b"model"), bytes: 7
            }],
            main: None,
            target: Format::Glb,
            options: Options { scale: 0.1 + 0.2, ..Options::default() },
            bypass_cache: true,
            webhook_url: Some(Url::parse("https://example.com/hook?a=1").unwrap()),
            request_id: "a request".to_owned(),
            trace_parent: None,
            retry_of: Some(Uuid::from_u128(3)),
            executor: Some(ExecutorChoice::Kubernetes),
            census: Some(Census { triangles: 1 << 40, frames: 3, ..Census::default() }),
        }
    }

    /// What scripts write for a job that has just been queued.
    fn queued() -> Fields {
        let spec = to_json(&spec()).unwrap();
        [
            ("id", "00000000-0000-0000-0000-000000000007"),
            ("spec", spec.as_str()),
            ("state", "queued"),
            ("version", "1"),
            ("created", "1700000000000"),
            ("expires", "1700000001000"),
            ("attempts", "0"),
            ("token", "0"),
            ("memory", "1"),
            ("events", r#"{"id":1,"at":1700000000000,"state":"queued","attempt":0}"#),
            ("delivery", "00000000-0000-0000-0000-000000000008"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn with(mut fields: Fields, further: &[(&str, &str)]) -> Fields {
        fields.extend(further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        fields
    }

    #[test]
    fn the_record_of_a_queued_job_is_read() {
        let job = job(&queued()).unwrap();
        assert_eq!((job.id, job.spec, job.state), (Uuid::from_u128(7), spec(), State::Queued));
        assert_eq!((job.version, job.attempts, job.memory_factor), (1, 0, 1));
        let (created, expires) = (Timestamp(1_700_000_000_000), Timestamp(1_700_000_001_000));
        assert_eq!((job.created_at, job.expires_at), (created, expires));
        assert_eq!((job.started_at, job.ended_at, job.progress), (None, None, None));
        assert_eq!((job.result, job.error, job.cancel_requested), (None, None, false));
        let event =
            Event { id: 1, at: created, state: State::Queued, attempt: 0, progress: None, reason: None };
        assert_eq!((job.events, job.deliveries), (vec![event], vec![]));
    }

    #[test]
    fn the_record_of_a_job_that_has_run_is_read() {
        let progress = Progress { stage: Stage::Exporting, fraction: Some(0.1 + 0.2) };
        let error = ConversionError::new(ErrorCode::EmptyModel, "nothing is \"there\"");
        let (progress_json, error_json) = (to_json(&progress).unwrap(), to_json(&error).unwrap());
        let lost = r#"{"id":4,"at":5,"state":"queued","attempt":1,"reason":"worker_lost"}"#;
        let running = r#"{"id":6,"at":7,"state":"running","attempt":2,"progress":"#;
        let events = format!("{lost}\n{running}{progress_json}}}");
        let deliveries =
            [r#"{"at":10,"status":503,"error":"it says 503"}"#, r#"{"at":11,"status":204}"#].join("\n");
        let fields = with(
            queued(),
            &[
                ("state", "failed"),
                ("events", events.as_str()),
                ("progress", progress_json.as_str()),
                ("cancel", "1"),
                ("started", "5"),
                ("ended", "9"),
                ("error", error_json.as_str()),
                ("deliveries", deliveries.as_str()),
                ("delivery_attempts", "2"),
                ("delivery_token", "3"),
            ],
        );
        let delivery = delivery(&fields).unwrap();
        assert_eq!((delivery.id, delivery.token, delivery.attempts), (Uuid::from_u128(8), 3, 2));
        assert_eq!((Some(delivery.url), delivery.occurred_at), (spec().webhook_url, Timestamp(9)));
        let job = delivery.job;
        assert_eq!((job.progress, job.error, job.cancel_requested), (Some(progress), Some(error), true));
        assert_eq!((job.started_at, job.ended_at), (Some(Timestamp(5)), Some(Timestamp(9))));
        let reasons: Vec<_> = job.events.iter().map(|event| (event.reason, event.progress)).collect();
        assert_eq!(reasons, [(Some(GiveBack::WorkerLost), None), (None, Some(progress))]);
        let failed =
            DeliveryAttempt { at: Timestamp(10), status: Some(503), error: Some("it says 503".to_owned()) };
        let delivered = DeliveryAttempt { at: Timestamp(11), status: Some(204), error: None };
        assert_eq!(job.deliveries, [failed, delivered]);
    }

    #[test]
    fn only_a_running_job_has_a_claim() {
        assert_eq!(claim(&queued()).unwrap(), None);
        let running = with(queued(), &[("state", "running"), ("token", "1796028931042")]);
        let found = claim(&running).unwrap().unwrap();
        assert_eq!((found.token, found.job.state), (1_796_028_931_042, State::Running));
        assert!(claim(&with(running, &[("token", "")])).is_err());
    }

    #[test]
    fn an_unreadable_record_is_an_error() {
        for (name, value) in [("state", "paused"), ("version", "-1"), ("spec", "{}"), ("events", "1")] {
            let error = job(&with(queued(), &[(name, value)])).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("000000000007"), "{error}");
        }
        assert!(job(&Fields::new()).is_err());
    }
}
