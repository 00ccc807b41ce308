//! `meshgate jobs submit`: uploads a model, and follows its job if asked to.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::builder::PossibleValuesParser;
use reqwest::Body;
use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use super::api::Api;
use super::destination::Destination;
use super::document::{Document, label};
use super::error::ApiError;
use super::print::{self, Style, aside};
use super::retry::{Retries, explain};
use super::server::ServerArgs;
use super::upload::Model;
use super::watch::finish;
use crate::cli::conversion_flags::Flags;
use crate::cli::failure::Failure;
use crate::cli::output::say;
use crate::cli::progress::{Bar, Progress};
use crate::domain::options::TABLE;
use crate::domain::{Format, Options};

/// Longest key for idempotency.
const MAX_KEY: usize = 255;

const EXAMPLES: &str = "\
Examples:
  export MESHGATE_SERVER=http://localhost:5000
  meshgate jobs submit duck.fbx --to glb -o duck.glb
  meshgate jobs submit a.obj a.mtl wood.png --to usdz --priority low

An upload that breaks off is sent again a few times; one that the server cannot take at the moment, for two
minutes. Its key makes sure that there is one job.

Exit code: 0 submitted, or with --watch or --output succeeded; 1 if not, also if it was cancelled or expired;
64 usage error; 130 interrupted. MESHGATE_API_KEY, or a file that MESHGATE_API_KEY_FILE names, holds the
API key.";

/// Submit a model as a job
///
/// Prints the ID and the URL of the job. Several files are one model, such as an obj with its mtl and
/// textures.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct Args {
    /// The files of one model, or a zip of them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The target format
    #[arg(long, value_name = "FORMAT")]
    to: Format,

    /// The file of several, or of a zip, that is the model
    #[arg(long, value_name = "NAME")]
    main: Option<String>,

    /// With low, your other jobs go first [default: normal]
    #[arg(long, value_name = "PRIORITY", value_parser = PossibleValuesParser::new(["low", "normal"]))]
    priority: Option<String>,

    /// A URL that the server calls when the job ends
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,

    /// Submits the same model with the same key only once, for 24 hours [default: a new key]
    #[arg(long, value_name = "KEY", value_parser = key)]
    idempotency_key: Option<String>,

    /// Follow the job until it ends; --output does too
    #[arg(long)]
    watch: bool,

    /// Follow the job, and write its result to this file or folder, or - for standard output
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,

    /// Replace a file that exists
    #[arg(short, long, requires = "output")]
    force: bool,

    /// Print the job as a line of JSON; with --watch or --output, once it has ended
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,

    #[command(flatten)]
    flags: Flags,
}

impl Args {
    /// Whether the job is followed to its end. A result cannot be written earlier.
    fn watches(&self) -> bool {
        self.watch || self.output.is_some()
    }
}

/// Submits the job.
///
/// # Errors
/// A usage error, or why the job was not accepted.
pub async fn run(args: &Args, progress: &Progress) -> Result<ExitCode, Failure> {
    args.flags.0.check(args.to).map_err(|error| Failure::Usage(error.detail))?;
    let destination = args.output.as_deref().map(|output| Destination::new(Some(output), args.force));
    let to_stdout = destination.as_ref().is_some_and(Destination::is_stdout);
    if to_stdout && args.json {
        return Err(Failure::usage("--json and the model cannot both go to standard output"));
    }
    let watches = args.watches();
    let model = Model::new(&args.files)?;
    let api = args.server.api()?;
    if let Some(destination) = &destination {
        destination.check_free()?;
    }

    let bar = Arc::new(progress.start(label(model.name(), args.to.name())));
    let document = submit(&api, &model, args, &bar).await?;
    let id = document.job.id;
    if args.json && !watches {
        say(&document.json)?;
    } else if !args.json {
        let line = format!("{id}  {}", api.job_url(id));
        if to_stdout {
            progress.print(|| aside(line));
        } else {
            progress.print(|| say(line))?;
        }
    }
    if !watches {
        return Ok(ExitCode::SUCCESS);
    }
    let style = Style { json: args.json, aside: to_stdout, ..Style::default() };
    let ended = finish(&api, id, destination.as_ref(), &bar).await;
    drop(bar);
    let ended = ended?;
    progress.print(|| print::ended(&ended.document, ended.output().as_deref(), style))?;
    Ok(ended.exit_code())
}

/// Uploads the model, again if necessary; returns the job.
async fn submit(api: &Api, model: &Model, args: &Args, bar: &Arc<Bar>) -> Result<Document, ApiError> {
    let query = query(model, args);
    let key = args.idempotency_key.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
    let mut retries = Retries::default();
    let mut has_said = false;
    loop {
        let body = Body::wrap(model.upload(Arc::clone(bar)));
        let error = match api.submit(&query, &key, &model.media_type(), body).await {
            Ok(document) => return Ok(document),
            Err(error) => error,
        };
        let Some(pause) = retries.pause(&error) else { return Err(error) };
        // An upload that breaks off is sent again soon, and only a few times.
        if !matches!(error, ApiError::Broken { .. }) && !std::mem::replace(&mut has_said, true) {
            bar.say(&explain(&error));
        }
        bar.show("waiting", 0.0);
        sleep(pause).await;
    }
}

/// The parameters of the request; options that have their default are left out.
fn query(model: &Model, args: &Args) -> Vec<(&'static str, String)> {
    let others = [
        ("output_format", Some(args.to.name().to_owned())),
        ("filename", model.query_name().map(str::to_owned)),
        ("main", args.main.clone()),
        ("priority", args.priority.clone()),
        ("webhook_url", args.webhook_url.clone()),
    ];
    let others = others.into_iter().filter_map(|(name, value)| Some((name, value?)));
    others.chain(options(&args.flags.0)).collect()
}

fn options(options: &Options) -> Vec<(&'static str, String)> {
    let [given, defaults] =
        [options, &Options::default()].map(|options| serde_json::to_value(options).unwrap_or_default());
    let changed = TABLE.iter().filter_map(|info| {
        let value = given.get(info.name).filter(|value| defaults.get(info.name) != Some(*value))?;
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some((info.name, text))
    });
    changed.collect()
}

/// Parses a key for idempotency.
fn key(text: &str) -> Result<String, String> {
    let is_valid = (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let wrong = || format!("it takes 1 to {MAX_KEY} visible ASCII characters");
    is_valid.then(|| text.to_owned()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::jobs::Command;
    use crate::cli::{Cli, parse};

    fn parsed(line: &str) -> Args {
        match parse(&line.split(' ').collect::<Vec<_>>()) {
            Ok(Cli { command: crate::cli::Command::Jobs(Command::Submit(args)) }) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_query_has_what_was_asked_for() {
        let query = |line: &str| {
            let args = parsed(&format!("jobs submit Cargo.toml --to {line}"));
            query(&Model::new(&args.files).unwrap(), &args)
        };
        // The name of the file is not that of a model, so the server has to do without.
        assert_eq!(query("glb"), [("output_format", "glb".to_owned())]);
        let line = "gltf --priority low --webhook-url https://a/?b=c --main a.obj --draco --scale 0.01 \
                    --animation false --packaging zip --engine auto";
        let words = line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let expected = [
            ("output_format", "gltf"),
            ("main", "a.obj"),
            ("priority", "low"),
            ("webhook_url", "https://a/?b=c"),
            ("packaging", "zip"),
            ("animation", "false"),
            ("scale", "0.01"),
            ("draco", "true"),
        ];
        assert_eq!(query(&words), expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn an_output_is_waited_for() {
        let watches = |line: &str| parsed(line).watches();
        assert!(watches("jobs submit a.glb --to gltf -o b.gltf"));
        assert!(watches("jobs submit a.glb --to gltf --watch"));
        assert!(!watches("jobs submit a.glb --to gltf"));
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for line in [
            "jobs submit --to glb",
            "jobs submit a.glb",
            "jobs submit a.glb --to nope",
            "jobs submit a.glb --to gltf --priority high",
            "jobs submit a.glb --to gltf --watch --force",
            "jobs submit a.glb --to gltf --idempotency-key=",
            "jobs submit a.glb --to gltf --idempotency-key=\u{e4}",
        ] {
            assert!(parse(&line.split(' ').collect::<Vec<_>>()).is_err(), "{line}");
        }
    }
}
