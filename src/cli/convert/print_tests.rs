use serde_json::{Value, json};

use super::*;
use crate::cli::convert::args::parsed;
use crate::cli::convert::outcome::Success;
use crate::cli::convert::plan::{Input, Origin};
use crate::domain::report::{Clip, Contents, Counts, Timings};
use crate::domain::{ConversionError, Format, Report};

fn report(losses: &[&str], warnings: &[&str]) -> Report {
    let contents = |format, clips| Contents {
        format,
        bytes: 912_345,
        files: 1,
        counts: Counts {
            meshes: 1,
            triangles: 4212,
            vertices: 2399,
            clips: vec![Clip::default(); clips],
            ..Counts::default()
        },
    };
    Report {
        input: contents(Format::Fbx, 2),
        output: contents(Format::Stl, 0),
        losses: losses.iter().map(ToString::to_string).collect(),
        warnings: warnings.iter().map(ToString::to_string).collect(),
        engine: "blender 5.0.1".to_owned(),
        importer: None,
        timings: Timings::default(),
    }
}

fn planned(target: Format) -> PlannedConversion {
    let out = format!("out/duck.{target}");
    PlannedConversion {
        input: Input { origin: Origin::File("models/duck.fbx".into()), relative: "duck.fbx".into() },
        target,
        output: Output::File(out.into()),
    }
}

fn succeeded(losses: &[&str], warnings: &[&str]) -> EndedConversion {
    let written = vec!["out/duck.stl".into()];
    EndedConversion {
        index: 0,
        planned: planned(Format::Stl),
        seconds: 0.0614,
        result: Ok(Success { report: report(losses, warnings), written, cached: false }),
    }
}

fn failed(code: ErrorCode) -> EndedConversion {
    let result = Err(ConversionError::new(code, "it has no skeleton"));
    EndedConversion { index: 1, planned: planned(Format::Vrm), seconds: 0.01, result }
}

#[test]
fn a_single_conversion_is_printed_in_full() {
    let text = block(&succeeded(&["2 clips: stl holds no animation"], &["the name lies"]));
    assert_eq!(
        text,
        "duck.fbx → duck.stl  0.06 s  blender 5.0.1\n  \
         in   1 mesh, 4 212 triangles, 2 clips (912.3 kB)\n  \
         out  1 mesh, 4 212 triangles (912.3 kB)\n  \
         lost 2 clips: stl holds no animation\n  \
         note the name lies"
    );
    assert!(block(&succeeded(&[], &[])).ends_with("\n  lost nothing"));
}

#[test]
fn each_of_several_conversions_is_one_line() {
    let line_of = |finished: &EndedConversion, outcome| line(finished, outcome);
    assert_eq!(
        line_of(&succeeded(&["a", "b"], &["c"]), ConversionOutcome::Succeeded),
        "✓ models/duck.fbx → out/duck.stl  0.06 s  2 losses  1 warning"
    );
    assert_eq!(
        line_of(&failed(ErrorCode::NotHumanoid), ConversionOutcome::Failed),
        "✗ models/duck.fbx → out/duck.vrm  it has no skeleton (not_humanoid)"
    );
    assert_eq!(
        line_of(&failed(ErrorCode::UnsupportedPair), ConversionOutcome::Skipped),
        "– models/duck.fbx → out/duck.vrm  it has no skeleton"
    );
}

#[test]
fn json_lines_always_have_every_key() {
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let good: Value =
        serde_json::from_str(&json(&succeeded(&[], &[]), ConversionOutcome::Succeeded)).unwrap();
    let bad: Value =
        serde_json::from_str(&json(&failed(ErrorCode::NotHumanoid), ConversionOutcome::Failed)).unwrap();
    assert_eq!(keys(&good), ["input", "output", "outcome", "code", "detail", "seconds", "cached", "report"]);
    assert_eq!(keys(&good), keys(&bad));
    assert_eq!(good["outcome"], "succeeded");
    assert_eq!(good["report"]["input"]["triangles"], 4212);
    assert_eq!(bad["code"], "not_humanoid");
    assert_eq!(bad["report"], Value::Null);
    assert_eq!(good["seconds"], json!(0.061));
}

#[test]
fn an_unsupported_pair_is_skipped_only_with_several_formats() {
    let (args, mut tally) = (parsed("convert models -o out --json"), Tally::default());
    Printer::new(&[planned(Format::Vrm)], &args, false)
        .count(&failed(ErrorCode::UnsupportedPair), &mut tally);
    assert_eq!((tally.failed, tally.skipped), (1, 0));
    let printer = Printer::new(&[planned(Format::Vrm), planned(Format::Stl)], &args, false);
    printer.count(&failed(ErrorCode::UnsupportedPair), &mut tally);
    printer.count(&failed(ErrorCode::NotHumanoid), &mut tally);
    assert_eq!((tally.failed, tally.skipped), (2, 1));
}

#[test]
fn the_last_line_counts_the_outcomes() {
    let rows = [
        (succeeded(&["2 clips: stl holds no animation"], &[]), ConversionOutcome::Succeeded),
        (failed(ErrorCode::UnsupportedPair), ConversionOutcome::Skipped),
    ];
    let tally = Tally { planned: 2, succeeded: 1, skipped: 1, ..Tally::default() };
    assert_eq!(summary(&rows, &tally, "out"), "1 converted into out, 1 skipped, 1 with losses");
    assert_eq!(summary(&[], &Tally { failed: 2, ..Tally::default() }, "out"), "0 converted, 2 failed");
}
