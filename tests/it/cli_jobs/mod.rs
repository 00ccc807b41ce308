//! `meshgate jobs`, against a real server and against one that misbehaves.

mod downloads;
mod events;
mod refusals;
mod restart;
mod scripted;
mod server;
mod uploads;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::gateway::LONG;

/// The ID of the jobs of servers that are not real.
const ID: &str = "01975d3c-5b0e-7cc3-a3a1-5a5f0c6c8d6e";

/// A folder that commands run in.
struct Desk {
    folder: tempfile::TempDir,
}

/// The exit code and output of a command.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Desk {
        Desk { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with this file.
    fn with(name: &str, content: impl AsRef<[u8]>) -> Desk {
        let desk = Desk::new();
        desk.put(name, content);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The names in the folder, also those of hidden files.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// `meshgate jobs` with these words, for this server, without variables of the tests' environment.
    fn command(&self, server: &str, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshgate"));
        command
            .arg("jobs")
            .args(words.split_whitespace())
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("MESHGATE_SERVER", server)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, server: &str, words: &str) -> Ran {
        Ran::end_of(self.command(server, words))
    }

    /// Starts a command whose output is read at its end.
    fn start(&self, server: &str, words: &str) -> std::process::Child {
        self.command(server, words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

impl Ran {
    fn end_of(command: Command) -> Ran {
        Ran::of(&assert_cmd::Command::from_std(command).timeout(LONG).output().unwrap())
    }

    fn of(output: &Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    #[track_caller]
    fn succeeded(self) -> Ran {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Checks that the command failed with one sentence that contains these words.
    #[track_caller]
    fn failed(self, words: &[&str]) {
        assert_eq!((self.code, self.out.as_str()), (Some(1), ""), "{self:?}");
        let said = self.said();
        let [sentence] = said[..] else { panic!("{self:?}") };
        for words in words {
            assert!(sentence.contains(words), "{words}: {self:?}");
        }
    }

    /// The lines of standard error without progress, of which slow commands print a line every ten seconds.
    fn said(&self) -> Vec<&str> {
        const WORDS: [&str; 9] = [
            "uploading",
            "queued",
            "starting",
            "importing",
            "processing",
            "exporting",
            "packing",
            "waiting",
            "downloading",
        ];
        let is_progress = |line: &&str| line.rsplit_once(": ").is_some_and(|(_, word)| WORDS.contains(&word));
        self.err.lines().filter(|line| !is_progress(line)).collect()
    }

    /// The lines of standard output, which are JSON.
    #[track_caller]
    fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The ID in the only line of JSON.
    #[track_caller]
    fn id(&self) -> String {
        let [job] = &self.json()[..] else { panic!("{self:?}") };
        job["id"].as_str().unwrap().to_owned()
    }
}

/// A job as a server would describe it.
fn job(state: &str) -> String {
    let file = json!({"name": "a.glb", "bytes": 1});
    json!({
        "id": ID, "state": state, "output_format": "gltf", "input": [file],
        "created_at": "2026-11-30T08:55:31.042Z",
    })
    .to_string()
}
