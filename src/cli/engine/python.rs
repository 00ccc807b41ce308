//! Finds a Python that can load Blender's module.

use std::path::{Path, PathBuf};

use super::process::{isolated, output};
use crate::app;
use crate::cli::failure::Failure;

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
        let output = output(&mut isolated(path, ASK)).ok().filter(|output| output.status.success())?;
        let text = String::from_utf8(output.stdout).ok()?;
        let (implementation, version) = text.trim().split_once(' ')?;
        let (implementation, version) = (implementation.to_owned(), version.to_owned());
        Some(Python { path: path.to_owned(), implementation, version })
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
    if let Some(path) = named.map(Path::to_owned).or_else(|| app::path_variable("PYTHON")) {
        let shown = path.display();
        return match Python::at(&path) {
            Some(python) if python.fits() => Ok(python),
            Some(Python { implementation, version, .. }) => Err(Failure::Failed(format!(
                "{shown} is {implementation} {version}, and Blender needs CPython 3.11"
            ))),
            None => Err(Failure::Failed(format!("{shown} is not a working Python"))),
        };
    }
    let mut found = ["python3.11", "python3"].iter().filter_map(|name| Python::at(Path::new(name)));
    let missing = "Python 3.11 was not found; install it (Debian 12: apt-get install python3.11 python3.11-venv) \
                   or name it with --python FILE";
    found.find(Python::fits).ok_or_else(|| Failure::Failed(missing.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(implementation: &str, version: &str) -> Python {
        Python { path: "p".into(), implementation: implementation.to_owned(), version: version.to_owned() }
    }

    #[test]
    fn only_cpython_3_11_is_accepted() {
        assert!(python("cpython", "3.11.2").fits());
        for (implementation, version) in [("cpython", "3.12.1"), ("pypy", "3.11.2"), ("cpython", "3.1.1")] {
            assert!(!python(implementation, version).fits(), "{implementation} {version}");
        }
    }

    #[test]
    fn a_named_python_must_run() {
        let error = find(Some(Path::new("/nowhere/python"))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/python"));
        assert_eq!(Python::at(Path::new("/bin/false")), None);
    }
}
