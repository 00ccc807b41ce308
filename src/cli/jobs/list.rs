//! `meshgate jobs list`: the client's jobs as a table.

use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser, ValueParser};

use super::api::{Api, MAX_PAGE};
use super::document::{Document, Job};
use super::error::ApiError;
use super::retry::patiently;
use super::server::ServerArgs;
use crate::cli::failure::Failure;
use crate::cli::output::say;
use crate::cli::{humanize, progress, table};
use crate::jobs::{Progress, State};

/// Longest label of a job in the table, in characters.
const MAX_LABEL: usize = 40;

const EXAMPLES: &str = "\
Examples:
  meshgate jobs list --server http://localhost:5000
  meshgate jobs list --state failed --limit 100 --json

Lists the jobs of your API key, or without keys those from your address, newest first.";

/// List jobs: ID, state, model and format, age, progress
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only jobs in this state
    #[arg(long, value_name = "STATE", value_parser = states())]
    state: Option<State>,

    /// Most jobs to list
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = limit)]
    limit: usize,

    /// Print a line of JSON for each job
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

fn states() -> ValueParser {
    let words = PossibleValuesParser::new(State::ALL.map(State::word));
    words.try_map(|word| State::from_word(&word).ok_or("not a state")).into()
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse::<usize>().ok().filter(|limit| *limit > 0);
    limit.ok_or_else(|| "it takes a number above 0".to_owned())
}

/// Prints the jobs.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub async fn run(args: &Args) -> Result<ExitCode, Failure> {
    let api = args.server.api()?;
    let (jobs, has_more) = jobs(&api, args.state, args.limit).await?;
    if args.json {
        jobs.iter().try_for_each(|document| say(&document.json))?;
    } else if jobs.is_empty() {
        say("no jobs")?;
    } else {
        say(rows(&jobs))?;
        if has_more {
            let limit = args.limit.saturating_mul(5);
            say(format!("\nThere are more; --limit {limit} lists up to {limit} of them."))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The newest jobs, page by page, and whether there are more.
async fn jobs(api: &Api, state: Option<State>, limit: usize) -> Result<(Vec<Document>, bool), ApiError> {
    let mut jobs = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let size = (limit - jobs.len()).min(MAX_PAGE);
        let page = patiently(|| api.page(state, size, token.as_deref())).await?;
        jobs.extend(page.jobs);
        token = page.next;
        if token.is_none() || jobs.len() >= limit {
            jobs.truncate(limit);
            return Ok((jobs, token.is_some()));
        }
    }
}

fn rows(jobs: &[Document]) -> String {
    let mut table = table::plain(&["id", "state", "job", "age", "progress"]);
    for Document { job, .. } in jobs {
        table.add_row([
            job.id.to_string(),
            job.state.word().to_owned(),
            humanize::cut(&job.label(), MAX_LABEL),
            job.age().map(age).unwrap_or_default(),
            state_of(job),
        ]);
    }
    table::lines(&table).join("\n")
}

/// How far a job is, or how it ended.
fn state_of(job: &Job) -> String {
    match (job.state, job.progress, &job.error) {
        (State::Running, Some(Progress { stage, fraction }), _) => {
            let percent = progress::overall(stage, fraction) * 100.0;
            format!("{} {percent:.0} %", progress::word(stage))
        }
        (State::Succeeded, ..) => match job.losses {
            None | Some(0) => String::new(),
            Some(losses) => humanize::count(losses, "loss", "losses"),
        },
        (State::Failed, _, Some(error)) => humanize::name(&error.code),
        _ => String::new(),
    }
}

/// `5 s`, `3 min`, `2 h`, `4 d`
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(state: &str, more: &Value) -> Document {
        let mut value = json!({
            "id": "01975d3c-5b0e-7cc3-a3a1-5a5f0c6c8d6e", "state": state, "output_format": "glb",
            "created_at": "9999-01-01T00:00:00Z", "input": [{"name": "duck.fbx"}],
        });
        for (name, field) in more.as_object().unwrap() {
            value[name] = field.clone();
        }
        Document::new(&value).unwrap()
    }

    #[test]
    fn jobs_are_listed_as_a_table() {
        let jobs = [
            job("queued", &json!({})),
            job("running", &json!({"progress": {"stage": "exporting", "fraction": 0.5}})),
            job("failed", &json!({"error": {"code": "import_failed", "detail": "…"}})),
            job("succeeded", &json!({"losses": 2, "input": [{"name": "x".repeat(100) + ".fbx"}]})),
        ];
        let text = rows(&jobs);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert!(lines[0].starts_with("id ") && lines[0].contains("progress"), "{text}");
        for (line, state, end) in [
            (lines[2], "queued", "0 s"),
            (lines[3], "running", "exporting 70 %"),
            (lines[4], "failed", "import_failed"),
            (lines[5], "succeeded", "2 losses"),
        ] {
            assert!(line.starts_with("01975d3c-") && line.contains(state) && line.ends_with(end), "{line}");
            assert!(line.chars().count() < 120, "{line}");
        }
    }

    #[test]
    fn ages_are_short() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (7200, "2 h"), (86400 * 3 + 5, "3 d")]
        {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn limits_and_states_are_checked() {
        use crate::cli::parse;
        for line in ["jobs list", "jobs list --limit 500 --state failed", "jobs list --json"] {
            assert!(parse(&line.split(' ').collect::<Vec<_>>()).is_ok(), "{line}");
        }
        for line in ["jobs list --limit 0", "jobs list --limit -1", "jobs list --state done"] {
            assert!(parse(&line.split(' ').collect::<Vec<_>>()).is_err(), "{line}");
        }
    }
}
