use super::*;
use crate::cli::convert::plan::{Input, Origin, Output, PlannedConversion};
use crate::domain::report::{Clip, Timings};
use crate::domain::{Contents, ConversionError, ErrorCode, Format, Report};

fn contents(format: Format, clips: usize) -> Contents {
    let counts = Counts {
        meshes: 1,
        triangles: 4212,
        vertices: 2399,
        bones: 21,
        clips: vec![Clip::default(); clips],
        ..Counts::default()
    };
    Contents { format, bytes: 912_345, files: 1, counts }
}

fn report(target: Format, losses: &[&str]) -> Report {
    let losses: Vec<_> = losses.iter().map(ToString::to_string).collect();
    Report {
        input: contents(Format::Fbx, 2),
        output: contents(target, 2 - losses.len().min(2)),
        losses,
        warnings: Vec::new(),
        engine: "blender 5.0.1".to_owned(),
        importer: None,
        timings: Timings::default(),
    }
}

fn finished(
    input: &str,
    target: Format,
    written: &str,
    result: Result<Report, ConversionError>,
) -> EndedConversion {
    let input = Input { origin: Origin::File(format!("models/{input}").into()), relative: input.into() };
    let planned = PlannedConversion { input, target, output: Output::File(written.into()) };
    let result = result.map(|report| Success { report, written: vec![written.into()], cached: false });
    EndedConversion { index: 0, planned, seconds: 0.061, result }
}

fn rows() -> Vec<(EndedConversion, ConversionOutcome)> {
    let refused = ConversionError::new(ErrorCode::UnsupportedPair, "an fbx file has no such thing");
    let broken = ConversionError::new(ErrorCode::EngineCrashed, "Blender crashed on this model, twice");
    let lost = [
        "1 of 2 clips did not come out: a clip whose name\nis very long and goes on and on until it is no more",
    ];
    vec![
        (
            finished("duck.fbx", Format::Glb, "out/duck.glb", Ok(report(Format::Glb, &[]))),
            ConversionOutcome::Succeeded,
        ),
        (
            finished("duck.fbx", Format::Usdz, "out/duck.fbx.usdz", Ok(report(Format::Usdz, &lost))),
            ConversionOutcome::Succeeded,
        ),
        (finished("duck.fbx", Format::Vrma, "out/duck.vrma", Err(refused)), ConversionOutcome::Skipped),
        (finished("b.fbx", Format::Glb, "out/b.glb", Err(broken)), ConversionOutcome::Failed),
    ]
}

#[test]
fn each_conversion_is_a_line_below_its_model() {
    let text = draw(&rows_of(&rows()), 100);
    let expected = "\
went in → came out  meshes  triangles  bones  clips  lost    time
─────────────────────────────────────────────────────────────────
duck.fbx                 1      4 212     21      2
→ glb                    1      4 212     21      2     –  0.06 s
→ duck.fbx.usdz          1      4 212     21      1     1  0.06 s
  lost  1 of 2 clips did not come out: a clip whose name\\nis very long and goes on and on until it
        is no more
→ vrma  skipped: an fbx file has no such thing

b.fbx
→ glb  failed: Blender crashed on this model, twice (engine_crashed)";
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn long_names_are_shortened_to_fit_the_line() {
    let name = format!("{}/duck.fbx", "animals".repeat(30));
    let rows = [(
        finished(&name, Format::Glb, "out/x.glb", Ok(report(Format::Glb, &[]))),
        ConversionOutcome::Succeeded,
    )];
    let text = draw(&rows_of(&rows), 100);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(text.contains("…") && text.contains("/duck.fbx"), "{text}");
}

#[test]
fn a_note_on_the_model_is_printed_once() {
    let row = |target: Format, written: &str, notes: &[&str]| {
        let warnings = notes.iter().map(ToString::to_string).collect();
        let finished = finished("a.bvh", target, written, Ok(Report { warnings, ..report(target, &[]) }));
        (finished, ConversionOutcome::Succeeded)
    };
    let rows =
        [row(Format::Glb, "a.glb", &["no unit"]), row(Format::Fbx, "a.fbx", &["no unit", "no author"])];
    let text = draw(&rows_of(&rows), 100);
    assert_eq!(text.matches("  note  no unit").count(), 1, "{text}");
    assert!(text.ends_with("0.06 s\n  note  no author"), "{text}");
}

#[test]
fn models_with_equal_names_show_their_folders() {
    let mut rows = rows();
    rows.push((
        finished("duck.fbx", Format::Glb, "out/duck.glb", Ok(report(Format::Glb, &[]))),
        ConversionOutcome::Succeeded,
    ));
    rows.last_mut().unwrap().0.planned.input.origin = Origin::File("other/duck.fbx".into());
    let text = draw(&rows_of(&rows), 100);
    assert!(text.contains("models/duck.fbx") && text.contains("other/duck.fbx"), "{text}");
}
