//! Finds a Python that can load Blender's module.

use std::path::{Path, PathBuf};
use std::process::Command as Process;

use super::{Failure, output};

const ASK: &str = "import sys; print(sys.implementation.name, '.'.join(map(str, sys.version_info[:3])))";

/// A Python interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    pub path: PathBuf,
    /// `cpython`
    implementation: String,
    /// `3.11.2`
    pub version: String,
}

impl Python {
    /// Asks the interpreter at `path` for its version; `None` when it does not run.
    pub fn at(path: &Path) -> Option<Python> {
        let output = output(Process::new(path).args(["-I", "-c", ASK])).ok()?;
        if !output.status.success() {
            return None;
        }
        let text = String::from_utf8(output.stdout).ok()?;
        let (implementation, version) = text.trim().split_once(' ')?;
        Some(Python {
            path: path.to_owned(),
            implementation: implementation.to_owned(),
            version: version.to_owned(),
        })
    }

    /// Whether Blender's module is built for this Python.
    pub fn fits(&self) -> bool {
        self.implementation == "cpython" && self.version.starts_with("3.11.")
    }
}

/// Returns `named` or `$PYTHON` if set, else the first of `python3.11` and `python3` that fits.
///
/// # Errors
/// What to install; that `named` or `$PYTHON` does not fit.
pub fn find(named: Option<&Path>) -> Result<Python, Failure> {
    let set = std::env::var_os("PYTHON").filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = named.map(Path::to_owned).or(set) {
        return match Python::at(&path) {
            Some(python) if python.fits() => Ok(python),
            Some(python) => Err(Failure::failed(format!(
                "{} is {} {}, and Blender needs CPython 3.11",
                path.display(),
                python.implementation,
                python.version
            ))),
            None => Err(Failure::failed(format!("{} is not a working Python", path.display()))),
        };
    }
    ["python3.11", "python3"].iter().find_map(|name| Python::at(Path::new(name)).filter(Python::fits)).ok_or_else(
        || {
            Failure::failed(
                "Python 3.11 was not found; install it (Debian 12: apt-get install python3.11 python3.11-venv) \
                 or name it with --python FILE",
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(implementation: &str, version: &str) -> Python {
        Python { path: "p".into(), implementation: implementation.to_owned(), version: version.to_owned() }
    }

    #[test]
    fn only_cpython_3_11_fits() {
        assert!(python("cpython", "3.11.2").fits());
        for (implementation, version) in [("cpython", "3.12.1"), ("pypy", "3.11.2"), ("cpython", "3.1.1")] {
            assert!(!python(implementation, version).fits(), "{implementation} {version}");
        }
    }

    #[test]
    fn what_was_named_has_to_run() {
        let error = find(Some(Path::new("/nowhere/python"))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/python"));
        assert_eq!(Python::at(Path::new("/bin/false")), None);
    }
}
