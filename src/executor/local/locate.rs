//! Finds the engine on this machine.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::EngineError;
use crate::executor::task::Version;

/// A program that can be the zygote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// A Python 3.11 with the `bpy` package.
    Python(PathBuf),
    /// A full Blender 5.
    Blender(PathBuf),
}

impl Engine {
    pub fn program(&self) -> &Path {
        match self {
            Engine::Python(path) | Engine::Blender(path) => path,
        }
    }

    /// Returns the installed version without starting the engine, from the metadata of Python's packages.
    pub fn installed(&self) -> Option<Version> {
        let Engine::Python(_) = self else { return None };
        let versions = std::fs::read_dir(self.home()?.join("lib")).ok()?;
        let packages = versions.flatten().map(|python| python.path().join("site-packages"));
        let mut version = Version::default();
        for entry in packages.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten() {
            let name = entry.file_name();
            match name.to_str().and_then(|name| name.strip_suffix(".dist-info")?.split_once('-')) {
                Some(("bpy", number)) => number.clone_into(&mut version.blender),
                Some(("bpy_vrm_format", number)) => number.clone_into(&mut version.vrm_addon),
                _ => {}
            }
        }
        Some(version).filter(|version| !version.blender.is_empty())
    }

    /// The folder that children must read besides the system's libraries: the virtual environment, or Blender's folder.
    pub fn home(&self) -> Option<PathBuf> {
        match self {
            Engine::Python(path) => path.parent()?.parent().map(Path::to_owned),
            Engine::Blender(path) => path.canonicalize().ok()?.parent().map(Path::to_owned),
        }
    }
}

/// Places to search for the engine, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineCandidates {
    /// `BLENDER_PYTHON`
    pub python: Option<PathBuf>,
    /// `BLENDER_BIN`
    pub blender: Option<PathBuf>,
    /// Virtual environments.
    pub environments: Vec<PathBuf>,
}

impl EngineCandidates {
    /// Adds the virtual environments to search: the current folder's, the project's when the program runs from its
    /// `target/`, those beside the program, and the one that `meshgate engine install` makes.
    #[must_use]
    pub fn with_usual(
        mut self,
        current_dir: Option<&Path>,
        program: Option<&Path>,
        install: Option<&Path>,
    ) -> Self {
        self.environments.extend(current_dir.map(|folder| folder.join(".venv")));
        if let Some(folder) = program.and_then(Path::parent) {
            self.environments.extend(project_of(folder).map(|project| project.join(".venv")));
            self.environments.extend([folder.join("engine"), folder.join(".venv")]);
        }
        self.environments.extend(install.map(Path::to_owned));
        self
    }

    /// Returns the first engine found. An engine named by a setting must exist.
    ///
    /// # Errors
    /// `NotExecutable` for a named engine that cannot run, `NotFound` if there is no engine.
    pub fn locate(&self) -> Result<Engine, EngineError> {
        if let Some(path) = &self.python {
            return Ok(Engine::Python(explicit("BLENDER_PYTHON", path)?));
        }
        if let Some(path) = &self.blender {
            return Ok(Engine::Blender(explicit("BLENDER_BIN", path)?));
        }
        self.environments
            .iter()
            // The link is not resolved: Python finds its environment by the path that it was started with.
            .filter_map(|environment| std::path::absolute(environment.join("bin/python")).ok())
            .find(|python| is_executable(python))
            .map(Engine::Python)
            .ok_or(EngineError::NotFound)
    }

    /// Returns what is wrong with the engines named by settings. A missing engine is no mistake: repacking works
    /// without one.
    pub fn mistakes(&self) -> Vec<EngineError> {
        let named = [("BLENDER_PYTHON", &self.python), ("BLENDER_BIN", &self.blender)];
        named.into_iter().filter_map(|(setting, path)| explicit(setting, path.as_deref()?).err()).collect()
    }
}

/// The default folder of `meshgate engine install`: `$XDG_DATA_HOME/meshgate/engine`, or below `$HOME/.local/share`.
pub fn install_dir(data_home: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
    // The XDG specification says to ignore a relative path.
    let [data_home, home] = [data_home, home].map(|folder| folder.filter(|folder| folder.is_absolute()));
    let data = data_home.map(Path::to_owned).or_else(|| Some(home?.join(".local/share")))?;
    Some(data.join("meshgate/engine"))
}

/// The cargo project in whose `target/` the folder is.
fn project_of(folder: &Path) -> Option<&Path> {
    let target = folder.ancestors().find(|folder| folder.file_name().is_some_and(|name| name == "target"))?;
    target.parent().filter(|project| project.join("Cargo.toml").is_file())
}

fn explicit(setting: &'static str, path: &Path) -> Result<PathBuf, EngineError> {
    let absolute = std::path::absolute(path).ok().filter(|path| is_executable(path));
    absolute.ok_or_else(|| EngineError::NotExecutable { setting, path: path.to_owned() })
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn program(path: &Path) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_owned()
    }

    #[test]
    fn explicit_engines_come_first_and_must_exist() {
        let root = tempfile::tempdir().unwrap();
        let python = program(&root.path().join("python3.11"));
        let blender = program(&root.path().join("blender"));
        program(&root.path().join(".venv/bin/python"));
        let mut candidates = EngineCandidates {
            python: Some(python.clone()),
            blender: Some(blender.clone()),
            ..EngineCandidates::default()
        }
        .with_usual(Some(root.path()), None, None);
        assert_eq!(candidates.locate().unwrap(), Engine::Python(python.clone()));
        candidates.python = None;
        assert_eq!(candidates.locate().unwrap(), Engine::Blender(blender));

        fs::set_permissions(&python, fs::Permissions::from_mode(0o644)).unwrap();
        candidates.python = Some(python.clone());
        let error = candidates.locate().unwrap_err().to_string();
        assert_eq!(error, format!("BLENDER_PYTHON is {}, which is not an executable file", python.display()));
    }

    #[test]
    fn environments_are_searched_in_order() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let found = || {
            EngineCandidates::default()
                .with_usual(
                    Some(&at("here")),
                    Some(&at("project/target/release/meshgate")),
                    Some(&at("data/meshgate/engine")),
                )
                .locate()
        };
        let error = found().unwrap_err().to_string();
        assert!(error.contains("meshgate engine install"), "{error}");

        // From the last place to the first, each one takes over.
        for folder in [
            "data/meshgate/engine",
            "project/target/release/.venv",
            "project/target/release/engine",
            "project/.venv",
            "here/.venv",
        ] {
            if folder == "project/.venv" {
                fs::write(at("project/Cargo.toml"), "").unwrap();
            }
            let python = program(&at(folder).join("bin/python"));
            assert_eq!(found().unwrap(), Engine::Python(python));
        }
    }

    #[test]
    fn the_install_folder_follows_xdg() {
        let home = Some(Path::new("/home/ada"));
        let usual = PathBuf::from("/home/ada/.local/share/meshgate/engine");
        assert_eq!(install_dir(None, home), Some(usual.clone()));
        assert_eq!(install_dir(Some(Path::new("relative")), home), Some(usual));
        assert_eq!(install_dir(Some(Path::new("/data")), home), Some("/data/meshgate/engine".into()));
        assert_eq!(install_dir(None, None), None);
        assert_eq!(install_dir(None, Some(Path::new(""))), None);
    }
}
