//! The gateway: the real binary on a real port, with the real engine.

mod access;
mod admission;
mod codes;
mod connections;
mod contract;
mod convert;
mod disk;
mod document;
pub mod engine;
mod errors;
mod failures;
mod fairness;
mod jobs;
mod logs;
mod metrics;
mod observability;
mod promtool;
pub mod raw;
pub mod receive;
mod schemathesis;
mod stopping;
mod traces;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::busy_engine::conversions_below;

/// Longer than any step here takes on a busy machine.
pub const LONG: Duration = Duration::from_mins(2);

const PROGRAM: &str = env!("CARGO_BIN_EXE_meshgate");

/// Pause between two polls.
pub const PAUSE: Duration = Duration::from_millis(5);

/// A running `meshgate serve` or `meshgate worker`; killed when dropped.
pub struct Gateway {
    process: Child,
    /// `http://127.0.0.1:PORT`
    pub address: String,
    pub folder: tempfile::TempDir,
    /// The lines of its output.
    lines: mpsc::Receiver<String>,
    pub client: reqwest::Client,
}

impl Gateway {
    /// Starts it with these variables in addition to the usual ones, and waits until the engine is warm.
    pub fn start(variables: &[(&str, &str)]) -> Gateway {
        let gateway = Gateway::start_cold(variables);
        gateway.wait_for("the engine is warm");
        gateway
    }

    /// Starts it, and waits until it listens.
    pub fn start_cold(variables: &[(&str, &str)]) -> Gateway {
        Gateway::start_as("serve", variables)
    }

    /// Like [`Gateway::start_cold`], with another subcommand that listens.
    pub fn start_as(subcommand: &str, variables: &[(&str, &str)]) -> Gateway {
        let mut command = Command::new(PROGRAM);
        command.arg(subcommand).current_dir(env!("CARGO_MANIFEST_DIR"));
        Gateway::start_by(command, variables)
    }

    /// Starts a worker with these variables in addition to the usual ones, and waits until the engine is warm.
    pub fn start_worker(variables: &[(&str, &str)]) -> Gateway {
        let worker = Gateway::start_as("worker", variables);
        worker.wait_for("the engine is warm");
        worker
    }

    /// Like [`Gateway::start_cold`], with `command`, which runs the program.
    fn start_by(mut command: Command, variables: &[(&str, &str)]) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        command
            .env("DATA_DIR", folder.path())
            .env("BIND_ADDRESS", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer);
        let process = command.spawn().unwrap();
        // Dropping the command closes its ends of the pipe, so that the reader sees the end.
        drop(command);
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut gateway =
            Gateway { process, address: String::new(), folder, lines, client: reqwest::Client::new() };
        let line = gateway.wait_for("listening");
        let start = line.find("127.0.0.1:").expect("an address");
        let end = line[start..].find(|c: char| !c.is_ascii_digit() && !".:".contains(c));
        gateway.address = format!("http://{}", &line[start..end.map_or(line.len(), |end| start + end)]);
        gateway
    }

    /// Waits for the next line with `text`; discards the lines before it.
    pub fn wait_for(&self, text: &str) -> String {
        let (mut seen, end) = (Vec::new(), Instant::now() + LONG);
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("{error}: no line with {text:?} in {seen:#?}"),
            }
        }
    }

    /// The remaining lines so far; all of them if the gateway has ended.
    pub fn said(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end and returns the exit status.
    pub fn end(&mut self) -> std::process::ExitStatus {
        self.process.wait().unwrap()
    }

    /// The folders of conversions on disk.
    pub fn conversions_on_disk(&self) -> Vec<PathBuf> {
        conversions_below(&self.folder.path().join("work"))
    }

    /// `POST /convert` with one file.
    pub async fn convert(&self, query: &str, name: &str, content: Vec<u8>) -> reqwest::Response {
        let part = reqwest::multipart::Part::bytes(content).file_name(name.to_owned());
        let form = reqwest::multipart::Form::new().part("file", part);
        self.client.post(self.url(&format!("/convert?{query}"))).multipart(form).send().await.unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Polls until `reached`; blocks the task.
pub fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < LONG, "never: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits until no folder of a conversion is left. A starting engine briefly has such folders, too.
pub fn until_no_folder_is_left(gateway: &Gateway) {
    until("no folder", || gateway.conversions_on_disk().is_empty());
}

/// The address of the report in an answer.
pub fn report(answer: &reqwest::Response) -> String {
    let link = answer.headers()["link"].to_str().unwrap();
    link.strip_prefix('<').unwrap().split_once('>').unwrap().0.to_owned()
}

/// Scrapes all metrics.
pub async fn scrape(gateway: &Gateway) -> String {
    let answer = gateway.client.get(gateway.url("/metrics")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    answer.text().await.unwrap()
}

/// A file of the project's examples.
pub fn example(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)).unwrap()
}

/// A triangle as OBJ, the smallest model.
pub const TRIANGLE: &str = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n";
