//! `meshgate convert`: turns its arguments into conversions, runs them and returns an exit code.

mod args;
mod batch;
mod cache;
mod inputs;
mod outcome;
mod plan;
mod print;
mod sidecars;
mod summary;
mod write;

use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::MultiProgress;

use super::failure::{FAILED, Failure, INTERRUPTED};
use crate::domain::options::Packaging;
pub use args::Args;
use outcome::Tally;
use plan::{Destination, Origin, Output, PlannedConversion};

/// Longest removal of the conversions' folders after everything else has ended.
const LAST_WORK: Duration = Duration::from_secs(10);
/// The same for an interrupted run: a blocked read of standard input ends only with the process.
const LAST_WORK_INTERRUPTED: Duration = Duration::from_millis(50);

/// Runs the conversions.
///
/// # Errors
/// A usage error, or why no conversion can start. A failed conversion is in the exit code.
pub fn run(mut args: Args, bars: MultiProgress) -> Result<ExitCode, Failure> {
    let mut settings = args.run.check(&args.engine)?;
    let conversions = plan(&mut args)?;
    settings.cache = settings.cache.filter(|_| !args.no_cache);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::io("start the runtime"))?;
    let tally = runtime.block_on(batch::run(conversions, args, &settings, bars));
    let interrupted = tally.as_ref().map_or(true, |tally| tally.interrupted);
    runtime.shutdown_timeout(if interrupted { LAST_WORK_INTERRUPTED } else { LAST_WORK });
    Ok(match tally? {
        Tally { interrupted: true, .. } => ExitCode::from(INTERRUPTED),
        Tally { failed: 0, succeeded: 1.., .. } => ExitCode::SUCCESS,
        _ => ExitCode::from(FAILED),
    })
}

/// Turns the arguments into a list of conversions.
fn plan(args: &mut Args) -> Result<Vec<PlannedConversion>, Failure> {
    inputs::check_existence(&args.inputs)?;
    let mut seen = HashSet::new();
    args.to.retain(|target| seen.insert(*target));
    let single = matches!(args.inputs.as_slice(), [one] if !one.is_dir() || looks_like_file(&args.output));
    let (destination, targets) =
        plan::destination(&args.output, args.output.is_dir(), single, &args.to).map_err(Failure::Usage)?;
    let inputs = match (&destination, args.inputs.as_slice()) {
        (Destination::One(_), [one]) => vec![inputs::single(one)?],
        (_, given) => inputs::gather(given, &args.output)?,
    };

    let from_stdin = inputs.iter().any(|input| input.origin == Origin::Stdin);
    if args.from.is_some() && !from_stdin {
        return Err(Failure::usage("--from is only for standard input; files are detected by content"));
    }
    let options = &mut args.flags.0;
    let as_zip = options.packaging == Packaging::Zip;
    match &destination {
        Destination::One(Output::Stdout) if args.json => {
            return Err(Failure::usage("--json and the model cannot both go to standard output"));
        }
        Destination::One(Output::File(path)) if as_zip => {
            return Err(Failure::Usage(format!("--packaging zip needs a name like {}.zip", path.display())));
        }
        Destination::One(Output::Zip(_)) => options.packaging = Packaging::Zip,
        _ => {}
    }
    // With several targets, one that supports the options is enough.
    let mut checks = targets.iter().map(|target| options.check(*target));
    if let Some(Err(error)) = checks.next()
        && !checks.any(|check| check.is_ok())
    {
        return Err(Failure::Usage(error.detail));
    }
    plan::conversions(&inputs, &destination, &targets, as_zip).map_err(Failure::Usage)
}

/// Whether OUT names a file; a folder as IN is then one model.
fn looks_like_file(out: &Path) -> bool {
    !out.is_dir() && (out == Path::new("-") || plan::is_model(out))
}

#[cfg(test)]
mod tests {
    use super::args::parsed;
    use super::*;
    use crate::cli::parse;

    fn wrong(line: &str) -> String {
        match plan(&mut parsed(line)) {
            Err(Failure::Usage(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_option_has_a_flag() {
        let args = parsed("convert a.fbx -o b.glb --draco --animation false --scale 0.01 --packaging single");
        assert!(args.flags.0.draco && !args.flags.0.animation);
        assert!((args.flags.0.scale - 0.01).abs() < 1e-12);
        assert_eq!(args.flags.0.packaging, Packaging::Single);
    }

    #[test]
    fn a_switch_does_not_take_the_next_file_name() {
        let args = parsed("convert -o b.glb --draco a.fbx");
        assert_eq!(args.inputs, [Path::new("a.fbx")]);
        assert!(args.flags.0.draco);
    }

    #[test]
    fn a_wrong_value_names_its_option() {
        let error = parse(&["convert", "a.fbx", "-o", "b.glb", "--scale", "big"]).unwrap_err();
        assert!(error.to_string().contains("option scale takes a number from "), "{error}");
    }

    #[test]
    fn contradicting_arguments_are_refused() {
        assert!(wrong("convert - -o - --to glb --json").contains("--json"));
        assert!(wrong("convert - -o x.obj --packaging zip").contains("x.obj.zip"));
        assert!(wrong("convert - -o x.obj --draco").contains("draco"));
        assert!(wrong("convert Cargo.toml -o x.obj --from fbx").contains("--from"));
        assert!(wrong("convert nowhere.fbx -o x.obj").contains("nowhere.fbx"));
    }

    #[test]
    fn an_output_named_zip_becomes_a_zip() {
        let mut args = parsed("convert - -o x.zip --to obj");
        plan(&mut args).unwrap();
        assert_eq!(args.flags.0.packaging, Packaging::Zip);
    }
}
