//! The benchmark: ratios measured side by side in one run, rather than times, which differ between machines.
//!
//! `make bench` builds the models, runs this, and writes the table to `docs/BENCHMARKS.md`.

mod cache;
mod engine;
mod gateway;
mod hostile;
mod jobs;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use meshgate::executor::local::Settings;
use meshgate::executor::local::locate::EngineCandidates;
use meshgate::executor::workdir::WorkDir;

use table::Row;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let disk = tempfile::tempdir()?;
    let memory = if has_room(Path::new(MEMORY)) { Some(tempfile::tempdir_in(MEMORY)?) } else { None };
    let scratch = memory.as_ref().unwrap_or(&disk).path().to_owned();
    let bench = Bench { root: root.to_owned(), scratch, disk: disk.path().to_owned() };
    bench.make_models()?;

    // `cargo bench --bench meshgate -- native` measures one part and leaves the document as it is.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let mut rows = Vec::new();
    let mut add = |new: Vec<Row>| {
        // Rows are printed at once, since the whole run takes minutes.
        for row in &new {
            println!("{row}");
        }
        rows.extend(new);
    };
    // First, since the other parts remove many files, which slows down some file systems.
    if wanted("http-native") {
        add(vec![bench.http_native().await?]);
    }
    if wanted("conversion") {
        add(bench.one_conversion().await?);
    }
    if wanted("throughput") {
        add(vec![bench.throughput().await?]);
    }
    if wanted("start") {
        add(vec![bench.start().await?]);
    }
    if wanted("native") {
        add(bench.native().await?);
    }
    if wanted("memory") {
        add(vec![bench.memory().await?]);
    }
    if wanted("http-conversion") {
        add(vec![bench.http_conversion().await?]);
    }
    if wanted("http-throughput") {
        add(bench.http_throughput().await?);
    }
    if wanted("overload") {
        add(bench.overload().await?);
    }
    if wanted("upload") {
        add(vec![bench.upload_memory().await?]);
    }
    if wanted("crowd") {
        add(vec![bench.crowd().await?]);
    }
    if wanted("hostile") {
        add(bench.hostile().await?);
    }
    if wanted("ready") {
        add(vec![bench.ready()?]);
    }
    if wanted("hits") {
        add(bench.hits().await?);
    }
    if wanted("limit") {
        add(vec![bench.limit().await?]);
    }
    if wanted("misses") {
        add(vec![bench.misses().await?]);
    }
    if wanted("many") {
        add(bench.many()?);
    }
    if wanted("jobs") {
        add(bench.job_start().await?);
        add(vec![bench.job_throughput().await?, bench.job_acceptance().await?]);
        add(bench.job_workers().await?);
        add(bench.many_jobs().await?);
        add(vec![bench.job_streams().await?]);
    }

    if only.is_some() {
        return Ok(());
    }
    let path = root.join("docs/BENCHMARKS.md");
    // The sections on containers and Kubernetes are kept: `make bench-deploy` and `make bench-cluster` write them.
    let before = fs::read_to_string(&path).unwrap_or_default();
    let kept = before.find("\n## In containers\n").map_or("", |start| &before[start..]);
    fs::write(&path, table::document(&rows)? + kept)?;
    Ok(())
}

struct Bench {
    root: PathBuf,
    /// In memory, if it has room.
    scratch: PathBuf,
    /// On this machine's disk.
    disk: PathBuf,
}

/// Where Linux keeps files in memory.
const MEMORY: &str = "/dev/shm";

/// More bytes than all models and results together take at any time.
const ROOM: u64 = 2 << 30;

fn has_room(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|there| there.f_bavail * there.f_frsize >= ROOM)
}

impl Bench {
    fn python(&self) -> PathBuf {
        std::env::var_os("BLENDER_PYTHON").map_or_else(|| self.root.join(".venv/bin/python"), PathBuf::from)
    }

    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(self.python());
        command.arg(self.root.join("benches").join(name)).stdout(Stdio::null());
        command
    }

    fn model(&self, name: &str) -> PathBuf {
        self.scratch.join("models").join(name)
    }

    fn make_models(&self) -> Result<()> {
        let status = self.script("models.py").arg(self.scratch.join("models")).status()?;
        if status.success() { Ok(()) } else { Err("the models could not be made".into()) }
    }

    fn work(&self) -> Result<WorkDir> {
        Ok(WorkDir::open(&self.scratch.join("work"))?)
    }

    fn work_on_disk(&self) -> Result<WorkDir> {
        Ok(WorkDir::open(&self.disk.join("work"))?)
    }

    fn settings(&self, work: &WorkDir, workers: usize) -> Result<Settings> {
        let engine =
            EngineCandidates { python: Some(self.python()), ..EngineCandidates::default() }.locate()?;
        Ok(Settings { workers, ..Settings::new(engine, work.clone()) })
    }

    /// `python -c "import bpy"`
    fn import_bpy(&self) -> Result<Duration> {
        let began = Instant::now();
        let status = Command::new(self.python()).args(["-c", "import bpy"]).status()?;
        if status.success() { Ok(began.elapsed()) } else { Err("bpy cannot be imported".into()) }
    }

    /// Converts the cube in a new Blender process.
    fn process_once(&self) -> Result<Duration> {
        let began = Instant::now();
        let out = self.scratch.join("cold.glb");
        let status = self.script("bare.py").arg(self.model("cube.fbx")).arg(out).status()?;
        if status.success() { Ok(began.elapsed()) } else { Err("a Blender process failed".into()) }
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn show(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// The percentile of the times; `part` is from 0 to 1.
fn percentile(times: &mut [Duration], part: f64) -> Duration {
    times.sort();
    let index = (times.len() as f64 * part).ceil() as usize;
    times.get(index.saturating_sub(1)).copied().unwrap_or_default()
}

/// All descendants of a process.
fn descendants(process: u32) -> Vec<u32> {
    let children = |process: u32| -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        lists
            .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
            .collect()
    };
    let mut found = children(process);
    let mut next = 0;
    while let Some(&process) = found.get(next) {
        found.extend(children(process));
        next += 1;
    }
    found
}

/// A field of a process's `status` in `/proc`, in kB.
fn status_kb(status: &str, field: &str) -> Result<u64> {
    let status = fs::read_to_string(status)?;
    let line = status.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}
