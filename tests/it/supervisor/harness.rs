//! Test helpers: an engine with scripted faults, conversions for it, and observation of processes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshgate::domain::{Client, ConversionError, ErrorCode, Format, Options, Purpose, Stage};
use meshgate::executor::EngineRequest;
use meshgate::executor::local::locate::{Engine, EngineCandidates};
use meshgate::executor::local::{Blender, EngineError, Settings};
use meshgate::executor::task::{CompletedTask, Importer, Task};
use meshgate::executor::workdir::{ConversionFolder, WorkDir};

/// Longer than any step takes on a busy machine.
pub const LONG: Duration = Duration::from_mins(1);

/// The limit for the promise "within a second", with a margin for a busy machine.
pub const A_SECOND: Duration = Duration::from_millis(1500);

const CUBE: &str = "o cube\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n";

/// The real engine, which these tests need.
pub fn engine() -> Engine {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let candidates = EngineCandidates {
        python: std::env::var_os("BLENDER_PYTHON").map(PathBuf::from),
        ..EngineCandidates::default()
    }
    .with_usual(Some(root), None, None);
    candidates.locate().unwrap_or_else(|error| panic!("these tests run the real engine: {error}"))
}

pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine").join(name)
}

/// A folder and a supervisor's settings for one test.
pub struct Harness {
    pub base: tempfile::TempDir,
    pub settings: Settings,
}

impl Harness {
    pub fn new() -> Harness {
        // The supervisor's log is shown when a test fails.
        let _ = tracing_subscriber::fmt().with_env_filter("meshgate=debug").with_test_writer().try_init();
        let base = tempfile::tempdir().unwrap();
        let work = WorkDir::open(base.path()).unwrap();
        let mut settings = Settings::new(engine(), work);
        settings.entry = Some(script("faulty.py"));
        settings.hang_after = Duration::from_secs(1);
        Harness { base, settings }
    }

    /// Creates an engine that runs the script `source`.
    pub fn scripted(source: &str) -> Harness {
        let mut harness = Harness::new();
        let path = harness.base.path().join("entry.py");
        std::fs::write(&path, source).unwrap();
        harness.settings.entry = Some(path);
        harness
    }

    pub async fn start(&self) -> Blender {
        self.try_start().await.unwrap()
    }

    pub async fn try_start(&self) -> Result<Blender, EngineError> {
        Blender::start(self.settings.clone()).await
    }

    /// A conversion with the behaviour `fault` of `tests/engine/faulty.py`.
    pub fn job(&self, fault: &str) -> Job {
        Job::new(&self.settings.work, fault)
    }

    /// The number of folders of conversions.
    pub fn folders(&self) -> usize {
        let entries = std::fs::read_dir(self.settings.work.path()).unwrap().map(Result::unwrap);
        entries.filter(|entry| entry.path().join("in").is_dir()).count()
    }
}

/// A conversion.
#[derive(Clone)]
pub struct Job {
    pub folder: ConversionFolder,
    pub task: Task,
    pub purpose: Purpose,
}

impl Job {
    pub fn new(work: &WorkDir, fault: &str) -> Job {
        let folder = work.new_folder();
        folder.create_subfolders().unwrap();
        let name = format!("in/{fault}.obj");
        std::fs::write(folder.path().join(&name), CUBE).unwrap();
        let task = Task {
            input: name.into(),
            input_format: Format::Obj,
            output: "out/result.stl".into(),
            output_format: Format::Stl,
            options: Options::default(),
            read_back: false,
            importer: Importer::Default,
            most_triangles: None,
        };
        Job { folder, task, purpose: Purpose::Request }
    }

    /// The request of the conversion. `on_stage` is called when a stage begins.
    pub fn engine_request<'a>(
        &'a self,
        allowed: Duration,
        mut on_stage: impl FnMut(Stage) + Send + 'a,
    ) -> EngineRequest<'a> {
        EngineRequest {
            client: Client::Local,
            purpose: self.purpose,
            folder: &self.folder,
            task: self.task.clone(),
            allowed,
            progress: Box::new(move |stage, _| on_stage(stage)),
            usage: Arc::default(),
        }
    }

    pub async fn run(&self, blender: &Blender, allowed: Duration) -> Result<CompletedTask, ConversionError> {
        blender.convert(self.engine_request(allowed, |_| ())).await
    }

    pub async fn code(&self, blender: &Blender, allowed: Duration) -> ErrorCode {
        self.run(blender, allowed).await.expect_err("the conversion should fail").code
    }

    /// Starts the conversion and waits until its child runs.
    pub async fn begin<'a>(&'a self, blender: &'a Blender) -> Begun<'a> {
        let (begun, mut has_begun) = tokio::sync::mpsc::unbounded_channel();
        let mut run: Running = Box::pin(blender.convert(self.engine_request(LONG, move |stage| {
            let _ = begun.send(stage);
        })));
        tokio::select! {
            result = &mut run => panic!("the conversion ended before its child ran: {result:?}"),
            stage = has_begun.recv() => assert_eq!(stage, Some(Stage::Importing)),
        }
        Begun { run, pid: self.pid("pid") }
    }

    /// A process ID that the child has written to its folder.
    pub fn pid(&self, name: &str) -> i32 {
        let path = self.folder.path().join("in").join(name);
        let text = std::fs::read_to_string(path).unwrap();
        text.parse().unwrap()
    }

    /// Lets a waiting child continue.
    pub fn go(&self) {
        std::fs::write(self.folder.path().join("in/go"), "").unwrap();
    }

    pub fn result(&self) -> PathBuf {
        self.folder.path().join(&self.task.output)
    }
}

type Running<'a> =
    std::pin::Pin<Box<dyn Future<Output = Result<CompletedTask, ConversionError>> + Send + 'a>>;

/// A conversion with a running child.
pub struct Begun<'a> {
    pub run: Running<'a>,
    pub pid: i32,
}

pub fn signal(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

pub fn zygote(blender: &Blender) -> i32 {
    i32::try_from(blender.stats().zygote.expect("there is a zygote")).unwrap()
}

/// Polls until `is_so`; returns the time that took.
pub async fn until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}
