//! `meshgate convert` with the real engine, as a user runs it.

mod engine;
mod extra_files;
mod interrupt;
mod results;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use meshgate::domain::Report;
use serde_json::Value;

use crate::busy_engine::engine;

/// An OBJ of one triangle.
const TRIANGLE: &str = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n";

/// A working folder, and a separate folder for the program's data.
struct Desk {
    folder: tempfile::TempDir,
}

/// The exit code and output of a run.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Desk {
        Desk { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Copies the example of an OBJ with material and texture to `crate/`.
    fn put_crate(&self) {
        for name in ["crate.obj", "crate.mtl", "crate wood.png"] {
            self.put(&format!("crate/{name}"), fs::read(example(&format!("crate/{name}"))).unwrap());
        }
    }

    /// The program with the project's engine, without settings from the tests' environment.
    fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(&assert_cmd::cargo::cargo_bin("meshgate"), arguments)
    }

    fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("DATA_DIR", self.path("data"))
            .env("BLENDER_PYTHON", engine())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
    }

    /// The path of every file below a folder, without the program's data.
    fn files(&self, folder: &str) -> Vec<String> {
        let base = if folder == "." { self.folder.path().to_owned() } else { self.path(folder) };
        walkdir::WalkDir::new(&base)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| entry.path() != self.path("data"))
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| entry.path().strip_prefix(&base).unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    /// The number of run folders, of running processes and left behind by ended ones.
    fn run_folders(&self) -> usize {
        let Ok(entries) = fs::read_dir(self.path("data/work")) else { return 0 };
        entries
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("run-"))
            .count()
    }

    fn is_glb(&self, name: &str) -> bool {
        fs::read(self.path(name)).is_ok_and(|bytes| bytes.starts_with(b"glTF"))
    }
}

impl Ran {
    fn of(output: &Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    #[track_caller]
    fn succeeded(self) -> Ran {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The lines of standard error without progress, which slow conversions print.
    fn said(&self) -> Vec<&str> {
        let stages = [": importing", ": processing", ": exporting", ": packing"];
        self.err.lines().filter(|line| !stages.iter().any(|stage| line.ends_with(stage))).collect()
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// The report in a line of `--json`, after a check that it has exactly the fields of the type.
#[track_caller]
fn report(line: &Value) -> Report {
    let report: Report = serde_json::from_value(line["report"].clone()).unwrap();
    assert_eq!(serde_json::to_value(&report).unwrap(), line["report"]);
    report
}
