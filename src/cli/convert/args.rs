//! The arguments of `meshgate convert`.

use std::path::PathBuf;

use crate::cli::conversion_flags::Flags;
use crate::cli::setting_flags::{EngineArgs, RunArgs};
use crate::domain::{Format, Options};

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

Exit code: 0 all converted, 1 if any failed or none was converted, 64 usage error, 130 interrupted.
With several formats, impossible pairs (an obj has no skeleton for vrm) are skipped and do not count
as failed.";

/// Convert models and motions, one or many
///
/// IN is a file, a zip, a folder, or - for standard input. OUT is a file, a folder, or - for standard
/// output. The format is detected from the content, not the name.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct Args {
    /// Files, zips and folders; - is standard input
    #[arg(required = true, value_name = "IN")]
    pub inputs: Vec<PathBuf>,

    /// A file whose extension is the target format, a .zip, a folder, or - for standard output
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,

    /// The target format; several, separated by commas, need a folder
    #[arg(long, value_name = "FORMAT", value_delimiter = ',')]
    pub to: Vec<Format>,

    /// The format of standard input, if detection is ambiguous
    #[arg(long, value_name = "FORMAT")]
    pub from: Option<Format>,

    /// The file of a zip or folder that is the model
    #[arg(long, value_name = "NAME")]
    pub main: Option<String>,

    #[command(flatten)]
    pub run: RunArgs,

    /// Replace files that exist
    #[arg(short, long)]
    pub force: bool,

    /// Convert even if the result is cached, and cache nothing
    #[arg(long)]
    pub no_cache: bool,

    /// Print a line of JSON for each conversion
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub flags: Flags,

    #[command(flatten)]
    pub engine: EngineArgs,
}

impl Args {
    /// The options for `target`, without those that it does not support.
    pub fn options_for(&self, target: Format) -> Options {
        self.flags.0.clone().supported_by(target)
    }
}

/// The arguments in a test's command line.
#[cfg(test)]
pub fn parsed(line: &str) -> Args {
    match crate::cli::parse(&line.split(' ').collect::<Vec<_>>()) {
        Ok(crate::cli::Cli { command: crate::cli::Command::Convert(args) }) => args,
        other => panic!("{other:?}"),
    }
}
