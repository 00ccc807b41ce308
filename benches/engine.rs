//! The benchmark: ratios measured side by side in one run, never absolute times to be compared between machines.
//!
//! `make bench` builds the models, runs this, and writes the table to `docs/BENCHMARKS.md`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use meshgate::domain::options::Packaging;
use meshgate::domain::{Format, Options};
use meshgate::engine::blender::locate::Places;
use meshgate::engine::blender::protocol::{Importer, Task};
use meshgate::engine::blender::{Blender, Settings};
use meshgate::engine::native;
use meshgate::engine::workdir::WorkDir;
use meshgate::intake::{Limits, Source};
use meshgate::service::{Admission, Converter, Request};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const PAIRS: usize = 60;
/// Odd, for a median.
const COPIES: usize = 11;
const PROCESSES: usize = 5;
const BATCH: usize = 60;
const ROUNDS: usize = 3;
const SMALL: usize = 2000;

/// One line of the table.
struct Row {
    what: &'static str,
    measured: String,
    ratio: f64,
    /// `≤ 1.3`, and whether the ratio keeps it.
    goal: String,
    kept: bool,
}

impl Row {
    fn at_most(what: &'static str, measured: String, ratio: f64, goal: f64) -> Row {
        Row { what, measured, ratio, goal: format!("≤ {goal}"), kept: ratio <= goal }
    }

    fn at_least(what: &'static str, measured: String, ratio: f64, goal: f64) -> Row {
        Row { what, measured, ratio, goal: format!("≥ {goal}"), kept: ratio >= goal }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = tempfile::tempdir()?;
    let bench = Bench { root: root.to_owned(), scratch: scratch.path().to_owned() };
    bench.make_models()?;

    // `cargo bench --bench engine -- native` measures one part and leaves the document as it is.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let mut rows = Vec::new();
    if wanted("conversion") {
        rows.extend(bench.one_conversion().await?);
    }
    if wanted("throughput") {
        rows.push(bench.throughput().await?);
    }
    if wanted("start") {
        rows.push(bench.start().await?);
    }
    if wanted("native") {
        rows.extend(bench.native().await?);
    }
    if wanted("memory") {
        rows.push(bench.memory().await?);
    }
    // Not in the table: a rate is no ratio.
    if wanted("small") {
        bench.small().await?;
    }

    let table = table(&rows);
    print!("{table}");
    if only.is_some() {
        return Ok(());
    }
    fs::write(root.join("docs/BENCHMARKS.md"), document(&table)?)?;
    Ok(())
}

struct Bench {
    root: PathBuf,
    scratch: PathBuf,
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

    fn settings(&self, work: &WorkDir, workers: usize) -> Result<Settings> {
        let engine = Places { python: Some(self.python()), ..Places::default() }.locate()?;
        Ok(Settings { workers, ..Settings::new(engine, work.clone()) })
    }

    /// A small FBX through the supervisor, against a bare fork and against a process for each, in turns.
    async fn one_conversion(&self) -> Result<Vec<Row>> {
        let work = self.work()?;
        let blender = Blender::start(self.settings(&work, 1)?).await?;
        let mut bare = Bare::start(self)?;
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            floor.push(bare.convert(&self.model("cube.fbx"), &self.scratch.join("bare.glb"))?);
            ours.push(self.convert(&blender, &work).await?);
        }
        let mut processes = Vec::new();
        for _ in 0..PROCESSES {
            let began = Instant::now();
            let status = self
                .script("bare.py")
                .arg(self.model("cube.fbx"))
                .arg(self.scratch.join("cold.glb"))
                .status()?;
            if !status.success() {
                return Err("a Blender process failed".into());
            }
            processes.push(began.elapsed());
        }
        blender.shutdown().await;
        let (ours, floor, process) = (median(&mut ours), median(&mut floor), median(&mut processes));
        Ok(vec![
            Row::at_most(
                "small FBX → GLB: supervisor / bare fork-and-convert",
                format!("{} / {}", show(ours), show(floor)),
                ours.div_duration_f64(floor),
                1.3,
            ),
            Row::at_least(
                "small FBX → GLB: a Blender process each / supervisor",
                format!("{} / {}", show(process), show(ours)),
                process.div_duration_f64(ours),
                20.0,
            ),
        ])
    }

    async fn convert(&self, blender: &Blender, work: &WorkDir) -> Result<Duration> {
        let began = Instant::now();
        let folder = work.conversion_folder()?;
        fs::copy(self.model("cube.fbx"), folder.input().join("cube.fbx"))?;
        let task = Task {
            input: "in/cube.fbx".into(),
            input_format: Format::Fbx,
            output: "out/cube.glb".into(),
            output_format: Format::Glb,
            options: Options::default(),
            read_back: false,
            importer: Importer::Usual,
        };
        blender.convert(&folder, task, Duration::from_mins(1), |_, _| ()).await?;
        Ok(began.elapsed())
    }

    /// Two workers against one.
    async fn throughput(&self) -> Result<Row> {
        let work = self.work()?;
        let one = Blender::start(self.settings(&work, 1)?).await?;
        let two = Blender::start(self.settings(&work, 2)?).await?;
        let (mut single, mut double) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            single.push(self.batch(&one, &work).await?);
            double.push(self.batch(&two, &work).await?);
        }
        one.shutdown().await;
        two.shutdown().await;
        let (single, double) = (median(&mut single), median(&mut double));
        let rate = |took: Duration| BATCH as f64 / took.as_secs_f64();
        Ok(Row::at_least(
            "throughput: 2 workers / 1 worker",
            format!("{:.0}/s / {:.0}/s", rate(double), rate(single)),
            rate(double) / rate(single),
            1.7,
        ))
    }

    async fn batch(&self, blender: &Blender, work: &WorkDir) -> Result<Duration> {
        let began = Instant::now();
        let convert = || async { self.convert(blender, work).await };
        // As many callers as there are slots at most; the supervisor does the queueing.
        let half = || async {
            for _ in 0..BATCH / 2 {
                convert().await?;
            }
            Ok(())
        };
        let (first, second): (Result<()>, Result<()>) = tokio::join!(half(), half());
        first.and(second)?;
        Ok(began.elapsed())
    }

    /// From nothing to the first result, against the import of bpy alone.
    async fn start(&self) -> Result<Row> {
        let (mut ours, mut imports) = (Vec::new(), Vec::new());
        for _ in 0..PROCESSES {
            let began = Instant::now();
            let status = Command::new(self.python()).args(["-c", "import bpy"]).status()?;
            if !status.success() {
                return Err("bpy cannot be imported".into());
            }
            imports.push(began.elapsed());

            let began = Instant::now();
            let work = self.work()?;
            let blender = Blender::start(self.settings(&work, 1)?).await?;
            self.convert(&blender, &work).await?;
            ours.push(began.elapsed());
            blender.shutdown().await;
        }
        let (ours, import) = (median(&mut ours), median(&mut imports));
        Ok(Row::at_most(
            "start to first conversion / `python -c \"import bpy\"`",
            format!("{} / {}", show(ours), show(import)),
            ours.div_duration_f64(import),
            1.5,
        ))
    }

    /// 50 MB of glTF to GLB, against `cp` of the same bytes: the repacking alone, and all of a conversion.
    async fn native(&self) -> Result<Vec<Row>> {
        let (mut copies, mut repacks, mut conversions) = (Vec::new(), Vec::new(), Vec::new());
        let work = self.work()?;
        let converter = Converter::new(
            Ok(self.settings(&work, 1)?),
            work.clone(),
            Limits::default(),
            Admission::unbounded(2),
        );
        for _ in 0..COPIES {
            let began = Instant::now();
            let status =
                Command::new("cp").arg(self.model("big.bin")).arg(self.scratch.join("copy")).status()?;
            if !status.success() {
                return Err("cp failed".into());
            }
            copies.push(began.elapsed());
            fs::remove_file(self.scratch.join("copy"))?;

            let folder = work.conversion_folder()?;
            let began = Instant::now();
            let source = native::Source::open(&self.model("big.gltf"))?;
            native::repack(&source, 50 << 20, &folder.output(), "big", Format::Glb, Packaging::Auto)?;
            repacks.push(began.elapsed());
            drop(folder);

            let began = Instant::now();
            self.convert_file(&converter, "big.gltf", Format::Glb, Options::default()).await?;
            conversions.push(began.elapsed());
        }
        let copy = median(&mut copies);
        let (repack, conversion) = (median(&mut repacks), median(&mut conversions));
        Ok(vec![
            Row::at_most(
                "50 MB glTF → GLB: native repacking / `cp`",
                format!("{} / {}", show(repack), show(copy)),
                repack.div_duration_f64(copy),
                3.0,
            ),
            Row::at_most(
                "50 MB glTF → GLB: the whole conversion, counted and compared / `cp`",
                format!("{} / {}", show(conversion), show(copy)),
                conversion.div_duration_f64(copy),
                3.0,
            ),
        ])
    }

    /// How many small models are repacked in a second, two at a time, and the processor time of each.
    async fn small(&self) -> Result<()> {
        let work = self.work()?;
        let converter =
            Converter::new(Ok(self.settings(&work, 1)?), work, Limits::default(), Admission::unbounded(2));
        for (name, target) in [("small.glb", Format::Gltf), ("small.glb", Format::Glb)] {
            let (began, ticks) = (Instant::now(), processor_time()?);
            let half = || async {
                for _ in 0..SMALL / 2 {
                    self.convert_file(&converter, name, target, Options::default()).await?;
                }
                Ok(())
            };
            let (first, second): (Result<()>, Result<()>) = tokio::join!(half(), half());
            first.and(second)?;
            println!(
                "{name} → {target}: {:.0}/s, {:.3} ms of processor time each",
                SMALL as f64 / began.elapsed().as_secs_f64(),
                processor_time()?.saturating_sub(ticks).as_secs_f64() * 1000.0 / SMALL as f64,
            );
        }
        Ok(())
    }

    /// What 100 MB of model add to this process, Blender's own aside.
    async fn memory(&self) -> Result<Row> {
        let work = self.work()?;
        let converter =
            Converter::new(Ok(self.settings(&work, 1)?), work, Limits::default(), Admission::unbounded(2));
        converter.blender().await?;
        self.convert_file(&converter, "cube.fbx", Format::Glb, Options::default()).await?;
        // Forget the peak of what was measured before.
        fs::write("/proc/self/clear_refs", "5")?;
        let idle = status_kb("VmHWM")?;
        let mut options = Options::default();
        options.set("engine", "blender")?;
        self.convert_file(&converter, "big.glb", Format::Glb, options).await?;
        self.convert_file(&converter, "big.glb", Format::Gltf, Options::default()).await?;
        let added = (status_kb("VmHWM")?.saturating_sub(idle)) as f64 / 1024.0;
        converter.shutdown().await;
        Ok(Row::at_most(
            "memory that a 100 MB model adds to meshgate, in MB",
            format!("{:.0} MB idle", idle as f64 / 1024.0),
            added,
            20.0,
        ))
    }

    async fn convert_file(
        &self,
        converter: &Converter,
        name: &str,
        target: Format,
        options: Options,
    ) -> Result<()> {
        let request = Request {
            sources: Source::FileWithSiblings(self.model(name)),
            main: None,
            target,
            options,
            timeout: Duration::from_mins(5),
        };
        converter.convert(request, &|_, _| ()).await?;
        Ok(())
    }
}

/// `bare.py`, kept running.
struct Bare {
    process: std::process::Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Bare {
    fn start(bench: &Bench) -> Result<Bare> {
        let mut process = bench
            .script("bare.py")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let answers = BufReader::new(process.stdout.take().ok_or("no pipe")?);
        let mut bare = Bare { process, answers };
        bare.expect("ready")?;
        Ok(bare)
    }

    fn convert(&mut self, input: &Path, output: &Path) -> Result<Duration> {
        let began = Instant::now();
        let stdin = self.process.stdin.as_mut().ok_or("no pipe")?;
        writeln!(stdin, "{}\t{}", input.display(), output.display())?;
        stdin.flush()?;
        self.expect("ok")?;
        Ok(began.elapsed())
    }

    fn expect(&mut self, answer: &str) -> Result<()> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.trim() == answer { Ok(()) } else { Err(format!("the bare engine said {line:?}").into()) }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.process.stdin.take();
        let _ = self.process.wait();
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn show(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// What this process has spent on processors.
fn processor_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(") ").next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap_or(0)).sum();
    // A tick has been a hundredth of a second on every Linux there is.
    Ok(Duration::from_millis(ticks * 10))
}

/// A field of `/proc/self/status`, in kB.
fn status_kb(field: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

fn table(rows: &[Row]) -> String {
    let mut lines =
        vec!["| what | measured | ratio | goal | |".to_owned(), "| --- | --- | --- | --- | --- |".to_owned()];
    lines.extend(rows.iter().map(|row| {
        let kept = if row.kept { "kept" } else { "missed" };
        format!("| {} | {} | {:.2} | {} | {kept} |", row.what, row.measured, row.ratio, row.goal)
    }));
    lines.join("\n") + "\n"
}

fn document(table: &str) -> io::Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "# Benchmarks\n\nWritten by `make bench`. What is compared is measured in turns within one run; the medians \
         are shown. Times\ndepend on the machine, ratios much less.\n\nMachine: {model}, {cores} cores, Linux {}.\n\n\
         {table}",
        kernel.trim()
    ))
}
