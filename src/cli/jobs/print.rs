//! Prints how a job has ended, as `meshgate convert` prints a conversion.

use std::fmt::Display;
use std::io::{self, Write};

use super::document::{Document, Job};
use crate::cli::failure::Failure;
use crate::cli::output::say;
use crate::cli::{humanize, report_text};
use crate::jobs::State;

/// How the ends of jobs are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// A line of JSON for each job.
    pub json: bool,
    /// With the IDs, because there are several jobs.
    pub several: bool,
    /// The result goes to standard output, so text goes to standard error.
    pub aside: bool,
}

/// Prints how a job has ended. `output` is the file that was written.
///
/// # Errors
/// When standard output is closed.
pub fn ended(document: &Document, output: Option<&str>, style: Style) -> Result<(), Failure> {
    if style.json {
        return say(&document.json);
    }
    let id = if style.several { format!("{}  ", document.job.id) } else { String::new() };
    let text = format!("{id}{}", block(&document.job, output));
    if document.job.state == State::Succeeded && !style.aside {
        return say(text);
    }
    aside(text);
    Ok(())
}

/// Prints to standard error.
pub fn aside(text: impl Display) {
    // An error on a closed stream is ignored.
    let _ = writeln!(io::stderr(), "{text}");
}

/// The lines for a job that has ended.
fn block(job: &Job, output: Option<&str>) -> String {
    match job.state {
        State::Succeeded => success(job, output),
        State::Failed => {
            let error = job.error.as_ref();
            let detail = error.map_or("the server does not say why", |error| error.detail.as_str());
            let code = error.map_or("internal", |error| error.code.as_str());
            format!("{}: {} ({})", job.label(), humanize::name(detail), humanize::name(code))
        }
        State::Expired => format!("{}: expired: no worker began it in time; submit it again", job.label()),
        state => format!("{}: {}", job.label(), state.word()),
    }
}

fn success(job: &Job, output: Option<&str>) -> String {
    let output = output.or(job.result_name()).unwrap_or(&job.output_format);
    let mut line = format!("{} → {}", humanize::name(&job.model()), humanize::name(output));
    if let Some(seconds) = job.seconds() {
        line = format!("{line}  {}", humanize::duration(seconds));
    }
    let Some(report) = &job.report else {
        let losses = humanize::count(job.losses.unwrap_or_default(), "loss", "losses");
        return format!("{line}\n  {losses}; the server cannot read the report at the moment");
    };
    format!("{line}  {}\n{}", humanize::name(&report.engine), report_text::details(report))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn text(state: &str, more: &Value, output: Option<&str>) -> String {
        let mut value = json!({
            "id": "01975d3c-5b0e-7cc3-a3a1-5a5f0c6c8d6e", "state": state, "output_format": "stl",
            "created_at": "2026-11-30T08:55:31.000Z", "started_at": "2026-11-30T08:55:31.000Z",
            "ended_at": "2026-11-30T08:55:31.500Z", "input": [{"name": "duck.fbx"}],
        });
        for (name, field) in more.as_object().unwrap() {
            value[name] = field.clone();
        }
        block(&Document::new(&value).unwrap().job, output)
    }

    #[test]
    fn a_job_that_succeeded_is_printed_with_its_report() {
        let contents = |format: &str| json!({"format": format, "bytes": 1000, "files": 1, "meshes": 1, "triangles": 4212});
        let more = json!({"result": {"file_name": "duck.stl"}, "losses": 1, "report": {
            "input": contents("fbx"), "output": contents("stl"), "losses": ["2 clips: stl holds no animation"],
            "warnings": ["the name lies"], "engine": "blender 5.0.1", "timings": {"total_ms": 1.0},
        }});
        let report = "0.50 s  blender 5.0.1\n  in   1 mesh, 4 212 triangles (1.0 kB)\n  \
                      out  1 mesh, 4 212 triangles (1.0 kB)\n  lost 2 clips: stl holds no animation\n  \
                      note the name lies";
        assert_eq!(text("succeeded", &more, None), format!("duck.fbx → duck.stl  {report}"));
        assert_eq!(text("succeeded", &more, Some("out/b.stl")), format!("duck.fbx → out/b.stl  {report}"));
    }

    #[test]
    fn a_report_that_cannot_be_read_is_not_an_error() {
        let more = json!({"result": {"file_name": "duck.stl"}, "losses": 2, "report": null});
        assert_eq!(
            text("succeeded", &more, None),
            "duck.fbx → duck.stl  0.50 s\n  2 losses; the server cannot read the report at the moment"
        );
    }

    #[test]
    fn a_job_without_a_result_says_why() {
        let error = json!({"error": {"code": "import_failed", "detail": "the file is\u{1b} cut off"}});
        assert_eq!(
            text("failed", &error, None),
            "duck.fbx → stl: the file is\\u{1b} cut off (import_failed)"
        );
        assert_eq!(text("cancelled", &json!({}), None), "duck.fbx → stl: cancelled");
        assert!(text("expired", &json!({}), None).starts_with("duck.fbx → stl: expired: "));
    }
}
