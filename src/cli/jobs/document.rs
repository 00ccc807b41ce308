//! A job as the server describes it. Unknown fields are ignored: the server may be newer.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::cli::humanize;
use crate::domain::{Format, Report};
use crate::fs::names;
use crate::jobs::{GiveBack, Progress, State};

/// A job, and its JSON on one line.
#[derive(Debug)]
pub struct Document {
    pub job: Job,
    pub json: String,
}

/// The fields of a job that are shown to people.
#[derive(Debug, Deserialize)]
pub struct Job {
    pub id: Uuid,
    pub state: State,
    created_at: String,
    #[serde(default)]
    started_at: Option<String>,
    #[serde(default)]
    ended_at: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub progress: Option<Progress>,
    #[serde(default)]
    input: Vec<Input>,
    #[serde(default)]
    main: Option<String>,
    pub output_format: String,
    #[serde(default)]
    pub losses: Option<u64>,
    /// Absent in lists, and while the store cannot be read.
    #[serde(default, deserialize_with = "lenient")]
    pub report: Option<Report>,
    #[serde(default)]
    result: Option<ResultFile>,
    #[serde(default)]
    pub error: Option<Problem>,
}

#[derive(Debug, Deserialize)]
struct Input {
    name: String,
}

#[derive(Debug, Deserialize)]
struct ResultFile {
    file_name: String,
}

/// An error of the API: of a request, or of a job that has failed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    pub code: String,
    pub detail: String,
    pub request_id: Option<String>,
}

/// The data of an event.
#[derive(Debug, Deserialize)]
pub struct Change {
    pub state: State,
    #[serde(default)]
    pub attempt: u32,
    #[serde(default, deserialize_with = "lenient")]
    pub progress: Option<Progress>,
    /// Why a job is queued again.
    #[serde(default, deserialize_with = "lenient")]
    pub reason: Option<GiveBack>,
}

/// Reads a value that may be of a kind that only newer servers have; it counts as absent then.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(source: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(source)?;
    Ok(serde_json::from_value(value).ok())
}

impl Document {
    /// # Errors
    /// When the value is no job.
    pub fn new(value: &Value) -> Result<Self, serde_json::Error> {
        Ok(Self { job: Job::deserialize(value)?, json: value.to_string() })
    }
}

impl Job {
    /// The job for people: its model and its target format, such as `duck.fbx → glb`.
    pub fn label(&self) -> String {
        label(&self.model(), &self.output_format)
    }

    /// The name of the model.
    pub fn model(&self) -> String {
        let names: Vec<_> = self.input.iter().map(|file| file.name.as_str()).collect();
        self.main.clone().unwrap_or_else(|| model_name(&names).to_owned())
    }

    /// The name that the server gives the result.
    pub fn result_name(&self) -> Option<&str> {
        self.result.as_ref().map(|file| file.file_name.as_str())
    }

    /// The time since the job was submitted, by the clock of this machine.
    pub fn age(&self) -> Option<Duration> {
        let age = OffsetDateTime::now_utc() - parse(&self.created_at)?;
        Some(age.try_into().unwrap_or_default())
    }

    /// The duration of the latest attempt, in seconds, if the job has ended.
    pub fn seconds(&self) -> Option<f64> {
        let (started, ended) = (self.started_at.as_deref()?, self.ended_at.as_deref()?);
        Some((parse(ended)? - parse(started)?).as_seconds_f64().max(0.0))
    }
}

fn parse(time: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(time, &Rfc3339).ok()
}

/// A model and its target format for people, on one line.
pub fn label(model: &str, target: &str) -> String {
    format!("{} → {}", humanize::name(model), humanize::name(target))
}

/// The name of the file that is probably the model: the first in a known format.
pub fn model_name<'a>(files: &[&'a str]) -> &'a str {
    let model = files.iter().find(|name| Format::from_extension(&names::extension(name)).is_some());
    let named = || files.iter().find(|name| !name.is_empty());
    model.or_else(named).copied().unwrap_or("model")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(more: &[(&str, Value)]) -> Job {
        let mut value = json!({
            "id": "01975d3c-5b0e-7cc3-a3a1-5a5f0c6c8d6e", "state": "running", "output_format": "glb",
            "created_at": "2026-11-30T08:55:31.042Z", "started_at": "2026-11-30T08:55:31.050Z",
            "input": [{"name": "duck.fbx", "bytes": 1, "blake3": ""}], "priority": "normal", "attempts": 1,
        });
        for (name, field) in more {
            value[*name] = field.clone();
        }
        Document::new(&value).unwrap().job
    }

    #[test]
    fn fields_and_values_of_newer_servers_are_ignored() {
        let newer = job(&[
            ("colour", "red".into()),
            ("progress", json!({"stage": "dreaming"})),
            ("report", json!({"input": 7})),
            ("links", Value::Null),
        ]);
        assert!(newer.progress.is_none() && newer.report.is_none());
        let known = job(&[("progress", json!({"stage": "exporting", "fraction": 0.5, "eta": 3}))]);
        assert_eq!(known.progress.unwrap().fraction, Some(0.5));
    }

    #[test]
    fn a_document_is_printed_as_it_came() {
        let id = "01975d3c-5b0e-7cc3-a3a1-5a5f0c6c8d6e";
        let rest = r#""state":"queued","created_at":"","output_format":"usdq","x":[1.0,2]"#;
        let text = format!("{{\"id\":\"{id}\",{rest}}}");
        let document = Document::new(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(document.json, text);
        assert_eq!((document.job.label().as_str(), document.job.age()), ("model → usdq", None));
        assert!(Document::new(&json!({"jobs": []})).is_err());
    }

    #[test]
    fn times_are_read() {
        let ended = job(&[("ended_at", "2026-11-30T08:55:33.300Z".into())]);
        assert!((ended.seconds().unwrap() - 2.25).abs() < 1e-9);
        assert_eq!(job(&[]).seconds(), None);
        // A clock may be behind that of the server.
        assert_eq!(job(&[("created_at", "9999-01-01T00:00:00Z".into())]).age(), Some(Duration::ZERO));
    }

    #[test]
    fn the_model_is_found_among_its_files() {
        for (names, model) in [
            (&["duck.fbx"][..], "duck.fbx"),
            (&["a.mtl", "a.png", "a.OBJ", "b.obj"], "a.OBJ"),
            (&["", "scan.42"], "scan.42"),
            (&[""], "model"),
            (&[], "model"),
        ] {
            assert_eq!(model_name(names), model);
        }
        assert_eq!(job(&[("main", "deep/b.obj".into())]).label(), "deep/b.obj → glb");
        assert_eq!(label("a\nb.obj", "glb"), "a\\nb.obj → glb");
    }
}
