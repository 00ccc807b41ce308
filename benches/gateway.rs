//! The gateway: the real binary, under load from this process, bounded in count and time.

use std::fmt::Write;
use std::io::{BufRead, BufReader, pipe};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use meshgate::domain::{Format, Options};
use meshgate::executor::local::Blender;
use meshgate::executor::task::{Importer, Task};
use meshgate::executor::workdir::WorkDir;
use reqwest::{Body, Client, RequestBuilder, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::engine::engine_request;
use super::table::Row;
use super::{Bench, Result, median, percentile, show};

const PAIRS: usize = 60;
const STARTS: usize = 5;
const NATIVE: usize = 4000;
const CLIENTS: usize = 8;
pub const DISTINCT: usize = 200;
const OVERLOAD: Duration = Duration::from_secs(30);
/// Tenths of a second after which no child, folder or descriptor may be left.
const SETTLED: usize = 50;
/// Waiting places of the gateway with two workers, by default.
const PLACES: usize = 2 + 8;

/// The log line that says the gateway is ready.
pub const WARM: &str = "the engine is warm";

/// A running `meshgate serve`; killed when dropped.
pub struct Server {
    process: Child,
    address: String,
    pub client: Client,
    /// Log lines of the start, each with the time since the process was started.
    said: Vec<(Duration, String)>,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts it with these environment variables in addition, and waits until it is ready.
    pub fn start(bench: &Bench, variables: &[(&str, &str)]) -> Result<Server> {
        Server::start_until(bench, variables, &[WARM])
    }

    /// Like [`Server::start`], but waits until its log contains all `signs`.
    pub fn start_until(bench: &Bench, variables: &[(&str, &str)], signs: &[&str]) -> Result<Server> {
        Server::start_as(bench, "serve", variables, signs)
    }

    /// Like [`Server::start_until`], with another subcommand that listens.
    pub fn start_as(
        bench: &Bench,
        subcommand: &str,
        variables: &[(&str, &str)],
        signs: &[&str],
    ) -> Result<Server> {
        let folder = tempfile::tempdir_in(&bench.scratch)?;
        let (reader, writer) = pipe()?;
        let began = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshgate"));
        command
            .arg(subcommand)
            .env("DATA_DIR", folder.path())
            .env("BIND_ADDRESS", "127.0.0.1:0")
            // Most parts send the same model repeatedly.
            .env("CACHE", "off")
            .env("BLENDER_PYTHON", bench.python())
            .env("WORKERS", "2")
            .env("LOG_FORMAT", "plain")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let process = command.spawn()?;
        drop(command);
        let mut server =
            Server { process, address: String::new(), client: Client::new(), said: Vec::new(), folder };
        let mut lines = BufReader::new(reader).lines();
        while !signs.iter().all(|sign| server.line(sign).is_ok()) {
            let line = lines.next().ok_or_else(|| format!("the gateway has ended: {:?}", server.said))??;
            server.said.push((began.elapsed(), line));
        }
        let (_, address) = server.line("listening")?.split_once("address=").ok_or("no address")?;
        server.address = format!("http://{}", address.split_whitespace().next().unwrap_or_default());
        // Later log lines are not needed, but a full pipe would block the server.
        thread::spawn(move || lines.map_while(std::result::Result::ok).for_each(drop));
        Ok(server)
    }

    /// The log line of the start that contains `sign`.
    pub fn line(&self, sign: &str) -> Result<&str> {
        let mut lines = self.said.iter().map(|(_, line)| line.as_str());
        Ok(lines.find(|line| line.contains(sign)).ok_or_else(|| format!("the log lacks {sign:?}"))?)
    }

    /// The time from the start until the log contained `sign`.
    pub fn after(&self, sign: &str) -> Result<Duration> {
        let said = self.said.iter().find(|(_, line)| line.contains(sign));
        Ok(said.ok_or_else(|| format!("the log lacks {sign:?}"))?.0)
    }

    /// Converts a raw body; returns the status, and the time until the whole response had arrived.
    async fn convert(&self, query: &str, body: impl Into<Body>) -> Result<(StatusCode, Duration)> {
        timed(self.request(&self.client, query, body)).await
    }

    pub fn request(&self, client: &Client, query: &str, body: impl Into<Body>) -> RequestBuilder {
        client.post(format!("{}/convert?{query}", self.address)).body(body)
    }

    pub async fn succeed(&self, query: &str, body: impl Into<Body>) -> Result<Duration> {
        match self.convert(query, body).await? {
            (StatusCode::OK, took) => Ok(took),
            (status, _) => Err(format!("a conversion returned {status}").into()),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// A field of the gateway's own `/proc/PID/status`, in kB.
    pub fn status_kb(&self, field: &str) -> Result<u64> {
        super::status_kb(&format!("/proc/{}/status", self.process.id()), field)
    }

    fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.process.id()))?.count())
    }

    /// Counts leftovers of conversions: children of the zygote, folders, and gauges of running and waiting conversions.
    async fn remains(&self) -> Result<usize> {
        let health: serde_json::Value =
            self.client.get(format!("{}/health", self.address)).send().await?.json().await?;
        let gauge = |pointer: &str| health.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or(1);
        let gauges = gauge("/engine/busy") + gauge("/queue/waiting");
        // All descendants of the process except the zygote itself.
        let below = super::descendants(self.process.id()).len().saturating_sub(1);
        Ok(gauges as usize + below + self.folders())
    }

    /// Conversion folders on disk.
    fn folders(&self) -> usize {
        let runs = walkdir::WalkDir::new(self.folder.path().join("work")).min_depth(2).max_depth(2);
        let runs = runs.into_iter().filter_map(std::result::Result::ok);
        runs.filter(|entry| entry.file_type().is_dir() && entry.path().to_string_lossy().contains("/run-"))
            .count()
    }
}

async fn timed(request: RequestBuilder) -> Result<(StatusCode, Duration)> {
    let began = Instant::now();
    let answer = request.send().await?;
    let status = answer.status();
    answer.bytes().await?;
    Ok((status, began.elapsed()))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The cube as OBJ, a little different each time, so that no two conversions are equal.
pub fn distinct(number: usize) -> Vec<u8> {
    let mut text = format!("# {number}\n");
    for corner in 0..8_usize {
        let at = |bit: usize| if corner >> bit & 1 == 1 { 1.0 + number as f64 * 1e-6 } else { -1.0 };
        let _ = writeln!(text, "v {} {} {}", at(0), at(1), at(2));
    }
    text.push_str("f 1 3 4 2\nf 5 6 8 7\nf 1 2 6 5\nf 3 7 8 4\nf 1 5 7 3\nf 2 4 8 6\n");
    text.into_bytes()
}

impl Bench {
    /// One conversion of the cube over HTTP and in this process, alternately.
    pub async fn http_conversion(&self) -> Result<Row> {
        let work = self.work()?;
        let blender = Blender::start(self.settings(&work, 1)?).await?;
        let server = Server::start(self, &[])?;
        let model = fs::read(self.model("cube.fbx"))?;
        let (mut direct, mut http) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            direct.push(self.convert(&blender, &work).await?);
            http.push(server.succeed("output_format=glb&filename=cube.fbx", model.clone()).await?);
        }
        blender.shutdown().await;
        let (direct, http) = (median(&mut direct), median(&mut http));
        let what = "HTTP adds to the supervisor's own median, in ms (cube.fbx → glb)";
        Ok(Row::adds(what, http, direct, 3.0))
    }

    /// Small native conversions by 8 clients, with the store in memory and on this disk. Only memory counts: some file
    /// systems create files slowly for minutes after many were removed, which is not the gateway's doing.
    pub async fn http_native(&self) -> Result<Row> {
        let url = format!("file://{}/store", self.disk.display());
        let disk = self.native_by_clients(&[("STORAGE_URL", &url)]).await?;
        let rate = self.native_by_clients(&[]).await?;
        Ok(Row::at_least(
            "100 kB glb repacked over HTTP by 8 clients, per second",
            format!("{disk:.0}/s with the store on this disk, {rate:.0}/s in memory"),
            rate,
            1500.0,
        ))
    }

    async fn native_by_clients(&self, variables: &[(&str, &str)]) -> Result<f64> {
        let server = Server::start(self, variables)?;
        let model = bytes::Bytes::from(fs::read(self.model("small.glb"))?);
        let request =
            |client: &Client| server.request(client, "output_format=glb&filename=a.glb", model.clone());
        Ok(NATIVE as f64 / hammer(NATIVE, request).await?.as_secs_f64())
    }

    /// Distinct conversions of four clients, compared with the two slots without HTTP and with a process each.
    pub async fn http_throughput(&self) -> Result<Vec<Row>> {
        let work = self.work()?;
        let blender = Arc::new(Blender::start(self.settings(&work, 2)?).await?);
        let server = Arc::new(Server::start(self, &[])?);
        let (mut slots, mut http) = (Vec::new(), Vec::new());
        for round in 0..3 {
            slots.push(self.distinct_direct(&blender, &work, round * DISTINCT).await?);
            http.push(distinct_http(&server, round * DISTINCT, 4).await?.0);
        }
        blender.shutdown().await;
        let mut processes = (0..STARTS).map(|_| self.process_once()).collect::<Result<Vec<_>>>()?;
        let process = median(&mut processes);
        let rate = |took: Duration| DISTINCT as f64 / took.as_secs_f64();
        let (slots, http) = (rate(median(&mut slots)), rate(median(&mut http)));
        // As many processes as there are slots.
        let processes = 2.0 / process.as_secs_f64();
        Ok(vec![
            Row::at_least(
                "4 clients of distinct small conversions / what 2 slots can do",
                format!("{http:.0}/s / {slots:.0}/s"),
                http / slots,
                0.85,
            ),
            Row::at_least(
                "4 clients of distinct small conversions / 2 processes at a time, one each",
                format!("{http:.0}/s / {processes:.1}/s"),
                http / processes,
                10.0,
            ),
        ])
    }

    /// Distinct conversions in the two slots without HTTP, by four callers.
    async fn distinct_direct(&self, blender: &Blender, work: &WorkDir, first: usize) -> Result<Duration> {
        let next = AtomicUsize::new(0);
        let caller = || async {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= DISTINCT {
                    return Ok::<(), Box<dyn std::error::Error>>(());
                }
                let folder = work.new_folder();
                folder.create_subfolders()?;
                fs::write(folder.input().join("a.obj"), distinct(first + number))?;
                let task = Task {
                    input: "in/a.obj".into(),
                    input_format: Format::Obj,
                    output: "out/a.glb".into(),
                    output_format: Format::Glb,
                    options: Options::default(),
                    read_back: false,
                    importer: Importer::Default,
                    most_triangles: None,
                };
                blender.convert(engine_request(&folder, task)).await?;
            }
        };
        let began = Instant::now();
        let (a, b, c, d) = tokio::join!(caller(), caller(), caller(), caller());
        a.and(b).and(c).and(d)?;
        Ok(began.elapsed())
    }

    /// Ten times the requests that it can serve, for a while: accepted ones take as long as at capacity, others are
    /// refused at once.
    pub async fn overload(&self) -> Result<Vec<Row>> {
        let server = Arc::new(Server::start(self, &[])?);
        let (took, mut at_capacity) = distinct_http(&server, 0, PLACES).await?;
        // Includes the connections of those requests, which are kept alive.
        let descriptors = server.descriptors()?;
        let capacity = DISTINCT as f64 / took.as_secs_f64();
        let mut ticks = interval(Duration::from_secs_f64(1.0 / (10.0 * capacity)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut requests = JoinSet::new();
        // Dropping this client closes its connections.
        let client = Client::new();
        let began = Instant::now();
        let mut number = DISTINCT;
        while began.elapsed() < OVERLOAD {
            ticks.tick().await;
            number += 1;
            let request = server.request(&client, "output_format=glb&filename=a.obj", distinct(number));
            requests.spawn(async move { timed(request).await.map_err(|error| error.to_string()) });
        }
        let (mut accepted, mut refused, mut lost) = (Vec::new(), Vec::new(), 0);
        while let Some(done) = requests.join_next().await {
            match done? {
                Ok((StatusCode::OK, took)) => accepted.push(took),
                Ok((StatusCode::SERVICE_UNAVAILABLE, took)) => refused.push(took),
                Ok(_) | Err(_) => lost += 1,
            }
        }
        drop(client);
        let mut left = server.remains().await? + server.descriptors()?.saturating_sub(descriptors);
        for _ in 0..SETTLED {
            if left == 0 {
                break;
            }
            sleep(Duration::from_millis(100)).await;
            left = server.remains().await? + server.descriptors()?.saturating_sub(descriptors);
        }
        let (count, refusals) = (accepted.len(), refused.len());
        let (calm, busy) = (percentile(&mut at_capacity, 0.99), percentile(&mut accepted, 0.99));
        let refusal = median(&mut refused);
        Ok(vec![
            Row::at_most(
                "overload: p99 of accepted requests / at capacity",
                format!("{} / {} ({count} accepted, {refusals} refused)", show(busy), show(calm)),
                busy.div_duration_f64(calm),
                1.5,
            ),
            Row::at_most(
                "overload: median refusal, in ms",
                show(refusal),
                refusal.as_secs_f64() * 1000.0,
                5.0,
            ),
            Row::at_most(
                "overload: requests without a proper answer",
                format!("of {number}"),
                f64::from(lost),
                0.0,
            ),
            Row::at_most(
                "overload: children, folders, descriptors and gauges left behind",
                format!("after {SETTLED} × 100 ms at most"),
                left as f64,
                0.0,
            ),
        ])
    }

    /// The memory that an upload of 100 MB adds to the gateway; it is repacked on the disk.
    pub async fn upload_memory(&self) -> Result<Row> {
        let server = Server::start(self, &[])?;
        server.succeed("output_format=glb&filename=a.obj", distinct(0)).await?;
        fs::write(format!("/proc/{}/clear_refs", server.process.id()), "5")?;
        let idle = server.status_kb("VmHWM")?;
        let file = tokio::fs::File::open(self.model("big.glb")).await?;
        let body = Body::wrap_stream(tokio_util::io::ReaderStream::new(file));
        let url = format!("{}/convert?output_format=glb&filename=big.glb", server.address);
        let mut answer = server.client.post(url).body(body).send().await?;
        if answer.status() != StatusCode::OK {
            return Err(format!("100 MB returned {}", answer.status()).into());
        }
        while answer.chunk().await?.is_some() {}
        let added = server.status_kb("VmHWM")?.saturating_sub(idle) as f64 / 1024.0;
        Ok(Row::at_most(
            "memory that a 100 MB upload adds to the gateway, in MB",
            format!("{:.0} MB idle", idle as f64 / 1024.0),
            added,
            20.0,
        ))
    }

    /// A client alone, and beside 500 idle connections and 50 very slow uploads, alternately.
    pub async fn crowd(&self) -> Result<Row> {
        let server = Server::start(self, &[])?;
        let host = server.address.trim_start_matches("http://").to_owned();
        let model = fs::read(self.model("cube.fbx"))?;
        let (mut alone, mut crowded) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            for _ in 0..PAIRS / 3 {
                alone.push(server.succeed("output_format=glb&filename=cube.fbx", model.clone()).await?);
            }
            let mut idle = Vec::new();
            for _ in 0..500 {
                idle.push(TcpStream::connect(&host).await?);
            }
            let mut slow = JoinSet::new();
            for _ in 0..50 {
                let host = host.clone();
                slow.spawn(async move {
                    let Ok(mut stream) = TcpStream::connect(host).await else { return };
                    let head = "POST /convert?output_format=glb&filename=a.fbx HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
                    let _ = stream.write_all(head.as_bytes()).await;
                    while stream.write_all(b"x").await.is_ok() {
                        sleep(Duration::from_millis(100)).await;
                    }
                });
            }
            for _ in 0..PAIRS / 3 {
                crowded.push(server.succeed("output_format=glb&filename=cube.fbx", model.clone()).await?);
            }
            slow.abort_all();
        }
        let (alone, crowded) = (median(&mut alone), median(&mut crowded));
        Ok(Row::at_most(
            "a client beside 500 idle connections and 50 slow uploads / alone",
            format!("{} / {}", show(crowded), show(alone)),
            crowded.div_duration_f64(alone),
            1.1,
        ))
    }

    /// The time from the start to ready, compared with importing bpy.
    pub fn ready(&self) -> Result<Row> {
        let (mut ours, mut imports) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            imports.push(self.import_bpy()?);
            ours.push(Server::start(self, &[])?.after(WARM)?);
        }
        let (ours, import) = (median(&mut ours), median(&mut imports));
        Ok(Row::at_most(
            "start to ready / `python -c \"import bpy\"`",
            format!("{} / {}", show(ours), show(import)),
            ours.div_duration_f64(import),
            1.5,
        ))
    }
}

/// Distinct conversions by a number of clients; returns the total time and the time of each.
pub async fn distinct_http(
    server: &Arc<Server>,
    first: usize,
    clients: usize,
) -> Result<(Duration, Vec<Duration>)> {
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let (server, next) = (Arc::clone(server), Arc::clone(&next));
        running.spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= DISTINCT {
                    return Ok::<_, String>(times);
                }
                let body = distinct(first + number);
                let took = server.succeed("output_format=glb&filename=a.obj", body).await;
                times.push(took.map_err(|error| error.to_string())?);
            }
        });
    }
    let mut times = Vec::new();
    while let Some(done) = running.join_next().await {
        times.extend(done??);
    }
    Ok((began.elapsed(), times))
}

/// Sends this many requests from [`CLIENTS`] clients together; returns the total time.
pub async fn hammer(requests: usize, request: impl Fn(&Client) -> RequestBuilder) -> Result<Duration> {
    let client = Client::new();
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let own: Vec<_> = (0..requests / CLIENTS).map(|_| request(&client)).collect();
        clients.spawn(async move {
            for request in own {
                let (status, _) = timed(request).await.map_err(|error| error.to_string())?;
                if status != StatusCode::OK {
                    return Err(format!("a request returned {status}"));
                }
            }
            Ok(())
        });
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    Ok(began.elapsed())
}
