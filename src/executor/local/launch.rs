//! Starts zygote processes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::error::EngineError;
use super::locate::Engine;
use super::python_package::Package;

/// The program and files that a zygote starts from.
#[derive(Debug)]
pub(super) struct Program {
    pub engine: Engine,
    pub package: Package,
    /// Another script to run instead of the package's own zygote.
    pub entry: Option<PathBuf>,
    /// The folder of this process, for conversions. Zygotes stay in it, and start in a folder of their own in it.
    pub work: PathBuf,
}

impl Program {
    /// The command of a zygote that has `socket` as its standard input, and this folder for temporary files.
    fn command(&self, socket: UnixStream, scratch: &Path) -> Command {
        let mut command = Command::new(self.engine.program());
        match &self.engine {
            Engine::Python(_) => command.args(["-I", "-c"]),
            Engine::Blender(_) => command.args([
                "--background",
                "--factory-startup",
                "--disable-autoexec",
                "--python-exit-code",
                "1",
                "--python-expr",
            ]),
        };
        command
            .arg(self.code())
            .current_dir(&self.work)
            // Blender gets neither our secrets nor a user's settings.
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", scratch)
            .env("TMPDIR", scratch)
            .env("LANG", "C.UTF-8")
            .env("BLENDER_VRM_AUTOMATIC_LICENSE_CONFIRMATION", "true")
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal must reach only this process, not the whole foreground group.
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    fn failed(&self, error: io::Error) -> EngineError {
        EngineError::Spawn { program: self.engine.program().to_owned(), error }
    }

    /// The Python code that puts the package on the path and becomes the zygote.
    fn code(&self) -> String {
        let package = python_string(self.package.folder());
        let main = self.package.folder().join("meshgate_engine/__main__.py");
        let entry = python_string(self.entry.as_ref().unwrap_or(&main));
        format!(
            "import sys, runpy; sys.path.insert(0, {package}); runpy.run_path({entry}, run_name='__main__')"
        )
    }
}

/// A path as a Python expression; JSON's strings are Python's too.
fn python_string(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

/// A started zygote: its process, socket and log.
pub(super) struct Started {
    /// Its temporary files, until it is ready. A zygote that is killed before that leaves some.
    pub scratch: TempDir,
    pub process: Child,
    pub socket: tokio::net::UnixStream,
    pub log: Log,
}

/// The thread that starts all zygotes.
///
/// A zygote asks the kernel to die with its parent, and for the kernel the parent is the *thread* that forked. A tokio
/// thread may end at any time and would take the zygote with it; this one lives as long as its owner.
#[derive(Debug)]
pub(super) struct Launcher {
    program: Program,
    requests: mpsc::Sender<Request>,
}

struct Request {
    command: Command,
    answer: oneshot::Sender<io::Result<Child>>,
}

impl Launcher {
    /// Starts the thread. Call it in a tokio runtime, which then watches the processes.
    pub fn new(program: Program) -> Result<Launcher, EngineError> {
        let runtime = tokio::runtime::Handle::current();
        let (requests, received) = mpsc::channel::<Request>();
        let thread = std::thread::Builder::new().name("zygotes".to_owned()).spawn(move || {
            for Request { mut command, answer } in received {
                let _inside = runtime.enter();
                // If the caller is gone, the child is dropped, which kills it.
                let _ = answer.send(command.spawn());
            }
        });
        thread.map_err(|error| program.failed(error))?;
        Ok(Launcher { program, requests })
    }

    /// Starts a zygote.
    pub async fn start(&self) -> Result<Started, EngineError> {
        self.spawn().await.map_err(|error| self.program.failed(error))
    }

    async fn spawn(&self) -> io::Result<Started> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let scratch = tempfile::Builder::new().prefix("start-").tempdir_in(&self.program.work)?;
        let command = self.program.command(theirs, scratch.path());
        let (answer, started) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.requests.send(Request { command, answer }).map_err(|_| gone())?;
        let mut process = started.await.map_err(|_| gone())??;
        let log = Log::follow(process.stderr.take());
        Ok(Started { scratch, process, socket: tokio::net::UnixStream::from_std(ours)?, log })
    }
}

/// The last lines of a zygote's output.
pub(super) struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
    reader: Option<AbortOnDropHandle<()>>,
}

const LOG_LINES: usize = 30;
const LOG_LINE_BYTES: usize = 400;

impl Log {
    fn follow(stderr: Option<ChildStderr>) -> Log {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let reader =
            stderr.map(|stderr| AbortOnDropHandle::new(tokio::spawn(read_lines(stderr, Arc::clone(&lines)))));
        Log { lines, reader }
    }

    /// Returns the lines so far, oldest first. If the process has `ended`, waits a moment for what is still in the
    /// pipe.
    pub async fn last_lines(&mut self, ended: bool) -> Vec<String> {
        if let Some(reader) = &mut self.reader
            && ended
            && tokio::time::timeout(std::time::Duration::from_millis(200), &mut *reader).await.is_ok()
        {
            // A finished task must not be awaited again.
            self.reader = None;
        }
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Keeps the last lines of a stream that may never end or never hold a line break.
async fn read_lines(mut stream: impl tokio::io::AsyncRead + Unpin, lines: Arc<Mutex<VecDeque<String>>>) {
    let mut chunk = [0; 4096];
    let mut line = Vec::new();
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        for &byte in chunk.iter().take(count) {
            if byte == b'\n' {
                keep(&lines, &mut line);
            } else if line.len() < LOG_LINE_BYTES {
                line.push(byte);
            }
        }
    }
    keep(&lines, &mut line);
}

fn keep(lines: &Mutex<VecDeque<String>>, line: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(line).trim_end().to_owned();
    line.clear();
    if text.is_empty() {
        return;
    }
    tracing::debug!(target: "meshgate::blender", "{text}");
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.len() == LOG_LINES {
        lines.pop_front();
    }
    lines.push_back(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_engine_log_is_bounded() {
        let lines = (0..100).map(|number| format!("\nline {number}"));
        let text = "x".repeat(1 << 20) + &lines.collect::<String>();
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        read_lines(text.as_bytes(), Arc::clone(&lines)).await;
        assert_eq!(lines.lock().unwrap().len(), LOG_LINES);
        assert_eq!(lines.lock().unwrap().back().unwrap(), "line 99");

        let lines = Arc::new(Mutex::new(VecDeque::new()));
        read_lines("y".repeat(1 << 20).as_bytes(), Arc::clone(&lines)).await;
        assert_eq!(lines.lock().unwrap()[0].len(), LOG_LINE_BYTES);
    }

    #[test]
    fn paths_become_valid_python_strings() {
        let path = Path::new("/tmp/it's \"quoted\" \\ 日本");
        assert_eq!(python_string(path), r#""/tmp/it's \"quoted\" \\ 日本""#);
    }
}
