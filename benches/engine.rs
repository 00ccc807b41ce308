//! The engine without HTTP: conversions in this process, compared with the least time that Blender could take.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshgate::context::Context;
use meshgate::conversion::{Admission, Converter, Spec};
use meshgate::domain::options::Packaging;
use meshgate::domain::{Client, Format, Options, Purpose};
use meshgate::executor::EngineRequest;
use meshgate::executor::local::{Blender, LocalExecutor};
use meshgate::executor::task::{Importer, Task};
use meshgate::executor::workdir::{ConversionFolder, WorkDir};
use meshgate::formats::gltf::asset::Asset;
use meshgate::intake::{ModelLimits, Source};
use meshgate::repack;

use super::table::Row;
use super::{Bench, Result, median, show, status_kb};

const PAIRS: usize = 60;
/// Odd, for a median.
const COPIES: usize = 11;
const PROCESSES: usize = 5;
const BATCH: usize = 60;
const ROUNDS: usize = 3;

impl Bench {
    /// A small FBX through the supervisor, compared with a bare fork and with a process each, alternately.
    pub async fn one_conversion(&self) -> Result<Vec<Row>> {
        let work = self.work()?;
        let blender = Blender::start(self.settings(&work, 1)?).await?;
        let mut bare = Bare::start(self)?;
        let disk = self.work_on_disk()?;
        let (mut ours, mut floor, mut on_disk) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            floor.push(bare.convert(&self.model("cube.fbx"), &self.scratch.join("bare.glb"))?);
            ours.push(self.convert(&blender, &work).await?);
            on_disk.push(self.convert(&blender, &disk).await?);
        }
        let mut processes = Vec::new();
        for _ in 0..PROCESSES {
            processes.push(self.process_once()?);
        }
        blender.shutdown().await;
        let (ours, floor, process) = (median(&mut ours), median(&mut floor), median(&mut processes));
        let on_disk = show(median(&mut on_disk));
        Ok(vec![
            Row::at_most(
                "small FBX → GLB: supervisor / bare fork-and-convert",
                format!("{} ({on_disk} with its folder on this disk) / {}", show(ours), show(floor)),
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

    pub async fn convert(&self, blender: &Blender, work: &WorkDir) -> Result<Duration> {
        let began = Instant::now();
        let folder = work.new_folder();
        folder.create_subfolders()?;
        fs::copy(self.model("cube.fbx"), folder.input().join("cube.fbx"))?;
        let task = Task {
            input: "in/cube.fbx".into(),
            input_format: Format::Fbx,
            output: "out/cube.glb".into(),
            output_format: Format::Glb,
            options: Options::default(),
            read_back: false,
            importer: Importer::Default,
            most_triangles: None,
        };
        blender.convert(engine_request(&folder, task)).await?;
        Ok(began.elapsed())
    }

    /// Two workers compared with one.
    pub async fn throughput(&self) -> Result<Row> {
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
        // Two callers, as many as there are slots at most.
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

    /// The time from the start to the first result, compared with importing bpy.
    pub async fn start(&self) -> Result<Row> {
        let (mut ours, mut imports) = (Vec::new(), Vec::new());
        for _ in 0..PROCESSES {
            imports.push(self.import_bpy()?);

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

    /// 50 MB of glTF to GLB, compared with `cp` of the same bytes: repacking alone, and the whole conversion.
    pub async fn native(&self) -> Result<Vec<Row>> {
        let (mut copies, mut repacks, mut conversions) = (Vec::new(), Vec::new(), Vec::new());
        let work = self.work_on_disk()?;
        let copy = self.disk.join("copy");
        let converter = self.converter(work.clone())?;
        for _ in 0..COPIES {
            let began = Instant::now();
            let status = Command::new("cp").arg(self.model("big.bin")).arg(&copy).status()?;
            if !status.success() {
                return Err("cp failed".into());
            }
            copies.push(began.elapsed());
            fs::remove_file(&copy)?;

            let folder = work.new_folder();
            folder.create_subfolders()?;
            let began = Instant::now();
            let source = Asset::open(&self.model("big.gltf"), &Context::default())?;
            let room = repack::SizeLimit { model: 50 << 20, most: 1 << 30 };
            repack::repack(&source, room, &folder.output(), "big", Format::Glb, Packaging::Auto)?;
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

    /// The memory that a model of 100 MB adds to this process, without Blender's.
    pub async fn memory(&self) -> Result<Row> {
        let work = self.work()?;
        let converter = self.converter(work)?;
        converter.executor().start().await?;
        self.convert_file(&converter, "cube.fbx", Format::Glb, Options::default()).await?;
        // Resets the peak, which earlier parts have raised.
        fs::write("/proc/self/clear_refs", "5")?;
        let idle = status_kb("/proc/self/status", "VmHWM")?;
        let mut options = Options::default();
        options.set("engine", "blender")?;
        self.convert_file(&converter, "big.glb", Format::Glb, options).await?;
        self.convert_file(&converter, "big.glb", Format::Gltf, Options::default()).await?;
        let added = (status_kb("/proc/self/status", "VmHWM")?.saturating_sub(idle)) as f64 / 1024.0;
        converter.executor().shutdown().await;
        Ok(Row::at_most(
            "memory that a 100 MB model adds to meshgate, in MB",
            format!("{:.0} MB idle", idle as f64 / 1024.0),
            added,
            20.0,
        ))
    }

    fn converter(&self, work: WorkDir) -> Result<Converter> {
        let executor = Arc::new(LocalExecutor::new(Ok(self.settings(&work, 1)?)));
        Ok(Converter::new(executor, work, ModelLimits::default(), Admission::unbounded(2)))
    }

    async fn convert_file(
        &self,
        converter: &Converter,
        name: &str,
        target: Format,
        options: Options,
    ) -> Result<()> {
        let spec = Spec {
            sources: Source::FileWithSiblings(self.model(name)),
            main: None,
            target,
            options,
            timeout: Duration::from_mins(5),
        };
        converter.convert(spec, &|_, _| ()).await?;
        Ok(())
    }
}

/// A request whose progress nobody follows.
pub fn engine_request(folder: &ConversionFolder, task: Task) -> EngineRequest<'_> {
    EngineRequest {
        client: Client::Local,
        purpose: Purpose::Request,
        folder,
        task,
        allowed: Duration::from_mins(1),
        progress: Box::new(|_, _| ()),
        usage: Arc::default(),
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
        // Closing its input ends it.
        self.process.stdin.take();
        let _ = self.process.wait();
    }
}
