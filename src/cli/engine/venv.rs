//! The engine's system packages: shared libraries, and Debian's `venv`.

use std::path::Path;
use std::process::{Command as Process, Stdio};

use super::process::{isolated, last_words, output, succeeded, works};
use super::python::Python;
use crate::cli::failure::Failure;
use crate::cli::output::say;

/// Debian's packages of the shared libraries that Blender's module links.
const LIBRARIES: &[&str] = &["libgl1", "libsm6", "libxfixes3", "libxi6", "libxkbcommon0", "libxrender1"];

/// The Debian package that lets its Python create virtual environments.
const VENV: &[&str] = &["python3.11-venv"];

/// Ensures that `python` can create virtual environments.
///
/// # Errors
/// The command to type, where this process may not install packages.
pub fn ensure_venv(python: &Python) -> Result<(), Failure> {
    let has_venv = || works(&python.path, "import venv, ensurepip");
    if has_venv() {
        return Ok(());
    }
    install("Python's venv module", VENV)?;
    if has_venv() {
        return Ok(());
    }
    let path = python.path.display();
    Err(Failure::Failed(format!("{path} still has no venv module; name another with --python")))
}

/// Starts Blender once and returns its version; installs missing libraries if allowed.
///
/// # Errors
/// What is missing and the command to type, or why Blender does not start.
pub fn start(engine: &Path) -> Result<String, Failure> {
    let mut started = try_start(engine)?;
    if let Err(reason) = &started
        && let Some(library) = missing_library(reason)
    {
        install(&format!("the library {library}"), LIBRARIES)?;
        started = try_start(engine)?;
    }
    started.map_err(|reason| Failure::Failed(format!("blender does not start: {reason}")))
}

/// Blender's version, or Python's last error line.
fn try_start(engine: &Path) -> Result<Result<String, String>, Failure> {
    // Blender prints lines of its own; `version=` marks ours.
    let program = "import bpy; print('\\nversion=' + '.'.join(map(str, bpy.app.version)))";
    let output = output(&mut isolated(engine, program))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.lines().find_map(|line| line.strip_prefix("version="));
    Ok(version.map(str::to_owned).ok_or_else(|| last_words(&output)))
}

/// `libSM.so.6` of `ImportError: libSM.so.6: cannot open shared object file: No such file or directory`
fn missing_library(reason: &str) -> Option<&str> {
    let (before, _) = reason.split_once(": cannot open shared object file")?;
    before.rsplit(' ').next()
}

/// Installs Debian packages as root or with passwordless sudo; otherwise the error is the command to type.
fn install(what: &str, packages: &[&str]) -> Result<(), Failure> {
    let list = packages.join(" ");
    let succeeds = |process: &mut Process| {
        process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        process.status().is_ok_and(|status| status.success())
    };
    if !succeeds(Process::new("apt-get").arg("--version")) {
        return Err(Failure::Failed(format!("{what} is missing; install the equivalent of Debian's {list}")));
    }
    let root = rustix::process::geteuid().is_root();
    if !root && !succeeds(Process::new("sudo").args(["-n", "true"])) {
        return Err(Failure::Failed(format!(
            "{what} is missing; type this, then run the same command again: sudo apt-get install -y {list}"
        )));
    }
    say(format!("{what} is missing: installing {list}"))?;
    let apt = |arguments: &[&str]| {
        let mut process = Process::new(if root { "apt-get" } else { "sudo" });
        if !root {
            process.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        }
        output(process.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    // The package lists may be absent or old. Without new ones, the installation may still work.
    let _ = apt(&["update", "-qq"]);
    let arguments = [&["install", "-y", "-qq", "--no-install-recommends"][..], packages].concat();
    succeeded(&apt(&arguments)?, &format!("apt-get could not install {list}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_recognised() {
        let reason = "ImportError: libSM.so.6: cannot open shared object file: No such file or directory";
        assert_eq!(missing_library(reason), Some("libSM.so.6"));
        assert_eq!(missing_library("ImportError: numpy is too old"), None);
    }
}
