//! `meshgate convert`: turns its arguments into conversions, runs them and returns an exit code.

mod batch;
mod cache;
mod inputs;
mod outcome;
mod plan;
mod print;
mod progress;
mod settings;
mod sidecars;
mod summary;
mod write;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::MultiProgress;

use super::conversion_flags::Flags;
use super::setting_flags::{EngineArgs, Known, RunArgs};
use super::{FAILED, Failure, INTERRUPTED};
use crate::domain::Format;
use crate::domain::options::Packaging;
use outcome::Tally;
use plan::{Destination, Input, Job, Origin};
use settings::Settings;

const EXAMPLES: &str = "\
Examples:
  meshgate convert duck.fbx -o duck.glb            the target is taken from the name
  meshgate convert duck.fbx -o duck.glb --draco    smaller
  meshgate convert models -o out --to glb          every model in a folder and its subfolders
  meshgate convert a.fbx b.obj -o out --to glb,usdz
  meshgate convert scene.zip -o scene.glb --main scene.gltf
  meshgate convert duck.fbx -o duck.zip --to obj   obj, mtl and textures in one zip
  cat duck.fbx | meshgate convert - -o - --to glb >duck.glb

In a folder, two models that differ only in their extension keep it: a.fbx and a.obj become a.fbx.glb
and a.obj.glb. A result of several files gets its own folder, or as --packaging says.

Exit code: 0 all converted, 1 some failed, 64 usage error, 130 interrupted. With several formats,
impossible pairs (an obj has no skeleton for vrm) are skipped and do not count as failed.";

/// Longest removal of the conversions' folders after everything else has ended.
const LAST_WORK: Duration = Duration::from_secs(10);
/// The same for an interrupted run: a blocked read of standard input ends only with the process.
const LAST_WORK_INTERRUPTED: Duration = Duration::from_millis(50);

/// Convert models and motions, one or many
///
/// IN is a file, a zip, a folder, or - for standard input. OUT is a file, a folder, or - for standard
/// output. The format is detected from the content, not the name.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct Args {
    /// Files, zips and folders; - is standard input
    #[arg(required = true, value_name = "IN")]
    inputs: Vec<PathBuf>,

    /// A file whose extension is the target format, a .zip, a folder, or - for standard output
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// The target format; several, separated by commas, need a folder
    #[arg(long, value_name = "FORMAT", value_delimiter = ',')]
    to: Vec<Format>,

    /// The format of standard input, if detection is ambiguous
    #[arg(long, value_name = "FORMAT")]
    from: Option<Format>,

    /// The file of a zip or folder that is the model
    #[arg(long, value_name = "NAME")]
    main: Option<String>,

    #[command(flatten)]
    pub run: RunArgs,

    /// Replace files that exist
    #[arg(short, long)]
    force: bool,

    /// Convert even if the result is cached, and cache nothing
    #[arg(long)]
    no_cache: bool,

    /// Print a line of JSON for each conversion
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    flags: Flags,

    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Runs the conversions.
///
/// # Errors
/// A usage error, or why no conversion can start. A failed conversion is in the exit code.
pub fn run(mut args: Args, bars: MultiProgress) -> Result<ExitCode, Failure> {
    let (wanted, engine) = args.run.check(&args.engine)?;
    let jobs = plan(&mut args)?;
    let at_once = wanted.at_once.unwrap_or_else(processors).min(jobs.len()).max(1);
    let settings = Settings {
        options: args.flags.0,
        main: args.main,
        from: args.from,
        engine,
        output: args.output,
        timeout: wanted.timeout,
        at_once,
        known: Known { cache: wanted.known.cache.filter(|_| !args.no_cache), ..wanted.known },
        force: args.force,
        json: args.json,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::io("start the runtime"))?;
    let tally = runtime.block_on(batch::run(jobs, settings, bars));
    let interrupted = tally.as_ref().map_or(true, |tally| tally.interrupted);
    runtime.shutdown_timeout(if interrupted { LAST_WORK_INTERRUPTED } else { LAST_WORK });
    Ok(exit_code(&tally?))
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn exit_code(tally: &Tally) -> ExitCode {
    if tally.interrupted {
        return ExitCode::from(INTERRUPTED);
    }
    if tally.failed > 0 || tally.succeeded == 0 {
        return ExitCode::from(FAILED);
    }
    ExitCode::SUCCESS
}

/// Turns the arguments into a list of conversions.
fn plan(args: &mut Args) -> Result<Vec<Job>, Failure> {
    inputs::are_there(&args.inputs)?;
    let targets = without_repeats(&args.to);
    let single = matches!(args.inputs.as_slice(), [one] if !one.is_dir() || looks_like_file(&args.output));
    let (destination, targets) =
        plan::destination(&args.output, args.output.is_dir(), single, &targets).map_err(Failure::Usage)?;
    let inputs = find_inputs(&args.inputs, &args.output, &destination)?;

    let from_stdin = inputs.iter().any(|input| input.origin == Origin::Stdin);
    if args.from.is_some() && !from_stdin {
        return Err(Failure::usage("--from is only for standard input; files are detected by content"));
    }
    if destination == Destination::Stdout && args.json {
        return Err(Failure::usage("--json and the model cannot both go to standard output"));
    }
    let as_zip = args.flags.0.packaging == Packaging::Zip;
    match &destination {
        Destination::File(path) if as_zip => {
            return Err(Failure::usage(format!("--packaging zip needs a name like {}.zip", path.display())));
        }
        Destination::Zip(_) => args.flags.0.packaging = Packaging::Zip,
        _ => {}
    }
    for target in &targets {
        // With several targets, one that supports the option is enough.
        if let Err(error) = args.flags.0.check(*target)
            && !targets.iter().any(|target| args.flags.0.check(*target).is_ok())
        {
            return Err(Failure::Usage(error.detail));
        }
    }
    plan::jobs(&inputs, &destination, &targets, as_zip).map_err(Failure::Usage)
}

fn find_inputs(given: &[PathBuf], out: &Path, destination: &Destination) -> Result<Vec<Input>, Failure> {
    match (destination, given) {
        (Destination::Folder(_), _) | (_, [] | [_, _, ..]) => inputs::gather(given, out),
        (_, [one]) => Ok(vec![inputs::single(one)?]),
    }
}

/// Whether OUT names a file; a folder as IN is then one model.
fn looks_like_file(out: &Path) -> bool {
    !out.is_dir() && (out == Path::new("-") || plan::is_model(out))
}

fn without_repeats(formats: &[Format]) -> Vec<Format> {
    let mut unique = Vec::new();
    for format in formats {
        if !unique.contains(format) {
            unique.push(*format);
        }
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command, parse};

    fn args(line: &str) -> Args {
        match parse(&line.split(' ').collect::<Vec<_>>()) {
            Ok(Cli { command: Command::Convert(args) }) => args,
            other => panic!("{other:?}"),
        }
    }

    fn wrong(line: &str) -> String {
        match plan(&mut args(line)) {
            Err(Failure::Usage(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_are_flags() {
        let args = args("convert a.fbx -o b.glb --draco --animation false --scale 0.01 --packaging single");
        assert!(args.flags.0.draco && !args.flags.0.animation);
        assert!((args.flags.0.scale - 0.01).abs() < 1e-12);
        assert_eq!(args.flags.0.packaging, Packaging::Single);
    }

    #[test]
    fn a_switch_leaves_the_files_alone() {
        let args = args("convert -o b.glb --draco a.fbx");
        assert_eq!(args.inputs, [Path::new("a.fbx")]);
        assert!(args.flags.0.draco);
    }

    #[test]
    fn a_wrong_value_names_its_option() {
        let error = parse(&["convert", "a.fbx", "-o", "b.glb", "--scale", "big"]).unwrap_err();
        assert!(error.to_string().contains("option scale takes a number from "), "{error}");
    }

    #[test]
    fn contradictions_are_wrong_use() {
        assert!(wrong("convert - -o - --to glb --json").contains("--json"));
        assert!(wrong("convert - -o x.obj --packaging zip").contains("x.obj.zip"));
        assert!(wrong("convert - -o x.obj --draco").contains("draco"));
        assert!(wrong("convert Cargo.toml -o x.obj --from fbx").contains("--from"));
        assert!(wrong("convert nowhere.fbx -o x.obj").contains("nowhere.fbx"));
    }

    #[test]
    fn a_zip_is_packed_as_one() {
        let mut args = args("convert - -o x.zip --to obj");
        plan(&mut args).unwrap();
        assert_eq!(args.flags.0.packaging, Packaging::Zip);
    }
}
