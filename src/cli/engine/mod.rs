//! `meshgate engine install`: installs Blender as a Python module, with every package pinned.

mod process;
mod python;
mod venv;

use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::{Command as Process, ExitCode};
use std::time::Duration;

use indicatif::ProgressBar;

use super::failure::Failure;
use super::humanize;
use super::output::say;
use crate::app;
use process::{isolated, last_words, output, succeeded, works};
use python::Python;

/// The packages and their hashes; developers' environments use the same file.
const REQUIREMENTS: &str = include_str!("../../../blender/requirements.txt");

/// Python code that prints a line for each package that is not fully installed. An interrupted installation has no list
/// of files yet (pip writes it last), and its metadata would confuse pip; the code removes that metadata.
const CHECK: &str = "\
import importlib.metadata as metadata, shutil, sys
for pin in sys.argv[1:]:
    name, version = pin.split('==')
    try:
        found = metadata.distribution(name)
        whole = bool(found.read_text('RECORD'))
        if whole and found.version == version:
            continue
        if not whole:
            shutil.rmtree(found._path)
    except metadata.PackageNotFoundError:
        pass
    print(pin)
";

/// Get and check the engine.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Install(Install),
}

/// Install Blender (as a Python module) and its VRM add-on into a folder of their own
///
/// Installs only what is missing, so that it can be run again at any time. Needs Python 3.11,
/// network, and about 1 GB of disk. Blender and the add-on are free software under the GPL.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Install {
    /// Folder to install into [default: ~/.local/share/meshgate/engine, or below `$XDG_DATA_HOME`]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,

    /// The Python 3.11 to use [default: `$PYTHON`, python3.11 or python3]
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
}

/// Runs the subcommand.
///
/// # Errors
/// What is missing, and the command that installs it.
pub fn run(command: &Command) -> Result<ExitCode, Failure> {
    let Command::Install(args) = command;
    let unknown = "neither XDG_DATA_HOME nor HOME is set; name a folder: meshgate engine install DIR";
    let folder = args.folder.clone().or_else(app::install_dir).ok_or_else(|| Failure::usage(unknown))?;
    install(&folder, args.python.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

fn install(folder: &Path, python: Option<&Path>) -> Result<(), Failure> {
    let engine = environment(folder, python)?;
    let missing = missing_packages(&engine)?;
    if missing.is_empty() {
        say(format!("the engine's packages are in {}", folder.display()))?;
    } else {
        install_packages(&engine, &missing)?;
    }
    let version = venv::start(&engine)?;
    say(format!("blender {version} is ready in {}", folder.display()))
}

/// The Python of a working virtual environment in `folder`, which is created or repaired if needed.
fn environment(folder: &Path, python: Option<&Path>) -> Result<PathBuf, Failure> {
    let engine = folder.join("bin/python");
    let ours = folder.join("pyvenv.cfg").is_file();
    if ours && Python::at(&engine).is_some_and(|python| python.fits()) && works(&engine, "import pip") {
        return Ok(engine);
    }
    let occupied = match folder.read_dir() {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Failure::io(format!("look into {}", folder.display()))(error));
        }
        // Python would resolve the `..` to another folder, and clear that one.
        Err(_) if folder.components().any(|part| part == Component::ParentDir) => {
            return Err(Failure::Failed(format!(
                "{} does not exist; name it without .. to create it",
                folder.display()
            )));
        }
        Err(_) => false,
    };
    if occupied && !ours {
        return Err(Failure::Failed(format!(
            "{} is not empty and not a virtual environment; choose another folder",
            folder.display()
        )));
    }
    let python = python::find(python)?;
    venv::ensure_venv(&python)?;
    say(format!("creating a virtual environment of Python {} in {}", python.version, folder.display()))?;
    // Only an environment of ours is cleared; any other folder here is empty.
    let clear = ours.then_some("--clear");
    let output = output(Process::new(&python.path).args(["-m", "venv"]).args(clear).arg(folder))?;
    succeeded(&output, "python could not create the environment")?;
    Ok(engine)
}

/// The `name==version` of every required package.
fn pins() -> impl Iterator<Item = &'static str> {
    REQUIREMENTS.lines().filter_map(pin)
}

/// The `name==version` at the beginning of a line.
fn pin(line: &str) -> Option<&str> {
    line.split_whitespace().next().filter(|word| word.contains("=="))
}

fn missing_packages(engine: &Path) -> Result<Vec<String>, Failure> {
    let output = output(isolated(engine, CHECK).args(pins()))?;
    succeeded(&output, "could not list the engine's packages")?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn install_packages(engine: &Path, missing: &[String]) -> Result<(), Failure> {
    let large = missing.iter().any(|pin| pin.starts_with("bpy=="));
    let note = if large { " (some 400 MB to download, a minute or two)" } else { "" };
    say(format!("installing {}{note}", missing.join(", ")))?;
    let requirements = tempfile::Builder::new().prefix("meshgate-").suffix(".txt").tempfile();
    let requirements = requirements.map_err(Failure::io("make a temporary file"))?;
    // Only missing and partly installed packages; complete ones must not be installed again.
    std::fs::write(requirements.path(), only(missing)).map_err(Failure::io("write a temporary file"))?;

    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(120));
    let started = std::time::Instant::now();
    let output = output(
        Process::new(engine)
            .args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--quiet"])
            .args(["--no-deps", "--require-hashes", "--only-binary", ":all:", "-r"])
            .arg(requirements.path()),
    );
    spinner.finish_and_clear();
    let output = output?;
    if !output.status.success() {
        return Err(Failure::Failed(format!(
            "pip could not install the engine: {}; run the same command again to continue",
            last_words(&output)
        )));
    }
    say(format!("installed in {}", humanize::duration(started.elapsed().as_secs_f64())))
}

/// The lines of the requirements for these packages.
fn only(pins: &[String]) -> String {
    let mut wanted = false;
    let lines = REQUIREMENTS.split_inclusive('\n').filter(|line| !line.starts_with('#'));
    let lines = lines.filter(|line| {
        if let Some(pin) = pin(line) {
            wanted = pins.iter().any(|wanted| wanted == pin);
        }
        wanted
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned_and_hashed() {
        let pins: Vec<_> = pins().collect();
        assert_eq!(pins, ["bpy==5.0.1", "bpy-vrm-format==4.10.2", "numpy==1.26.4"]);
        for pin in pins {
            assert!(only(&[pin.to_owned()]).contains("--hash=sha256:"), "{pin}");
        }
    }

    #[test]
    fn only_missing_packages_are_requested() {
        let text = only(&["bpy-vrm-format==4.10.2".to_owned()]);
        assert!(text.starts_with("bpy-vrm-format==4.10.2 \\\n    --hash="), "{text}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn an_unrelated_folder_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
        let error = environment(folder.path(), None).unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
        assert!(folder.path().join("thesis.txt").exists());
    }
}
