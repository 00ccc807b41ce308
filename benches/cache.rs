//! The cache: hits compared with nginx serving the same bytes, and the costs of cache, store and rate limit.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use meshgate::cache::{Entry, ResultInfo as Kept};
use meshgate::domain::Format;
use rustix::process::{Pid, Signal, kill_process};

use super::gateway::{Server, WARM, hammer};
use super::table::Row;
use super::{Bench, Result, median, show};

const HITS: usize = 2000;
const ROUNDS: usize = 3;
const PAIRS: usize = 200;
const ENTRIES: u32 = 100_000;
/// The log line of the gateway when its index has all entries of the store.
const REBUILT: &str = "rebuilt the cache's index";
const GLB: &str = "output_format=glb&filename=a.glb";
const ZIP: &str = "output_format=glb&filename=a.zip";

/// An nginx or Redis; stopped when dropped.
pub struct Other {
    process: Child,
    pub address: String,
}

impl Drop for Other {
    fn drop(&mut self) {
        // Not SIGKILL, so that nginx ends its workers, too.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}

impl Other {
    fn start(command: &mut Command, address: String, is_there: impl Fn() -> bool) -> Result<Other> {
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let began = Instant::now();
        while !is_there() {
            if began.elapsed() > Duration::from_secs(20) {
                return Err(format!("{} does not start", command.get_program().display()).into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Other { process, address })
    }

    /// nginx with one file and a minimal configuration.
    fn nginx(bench: &Bench, file: &Path) -> Result<Other> {
        let folder = bench.scratch.join("nginx");
        fs::create_dir_all(&folder)?;
        fs::copy(file, folder.join("file"))?;
        // Finds a free port for nginx, which cannot choose one itself.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let here = folder.display();
        let configuration = format!(
            "daemon off; worker_processes auto; pid {here}/pid; error_log stderr; events {{}} http {{ \
             access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; \
             client_body_temp_path {here}; proxy_temp_path {here}; fastcgi_temp_path {here}; \
             uwsgi_temp_path {here}; scgi_temp_path {here}; server {{ listen {address}; root {here}; }} }}"
        );
        fs::write(folder.join("conf"), configuration)?;
        let mut command = Command::new(bench.tool("nginx"));
        command.arg("-c").arg(folder.join("conf")).arg("-p").arg(&folder).arg("-e").arg("stderr");
        Other::start(&mut command, format!("http://{address}/file"), || {
            std::net::TcpStream::connect(address).is_ok()
        })
    }

    fn redis(bench: &Bench) -> Result<Other> {
        Other::redis_with(bench, &[])
    }

    pub fn redis_with(bench: &Bench, arguments: &[&str]) -> Result<Other> {
        let folder = tempfile::tempdir_in(&bench.scratch)?.keep();
        let socket = folder.join("redis.sock");
        let mut command = Command::new(bench.tool("redis-server"));
        command.args(["--port", "0", "--save", "", "--dir"]).arg(&folder).arg("--unixsocket").arg(&socket);
        command.args(arguments);
        Other::start(&mut command, format!("unix://{}", socket.display()), || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        })
    }
}

impl Bench {
    fn tool(&self, name: &str) -> PathBuf {
        self.root.join("target/tools").join(name)
    }

    /// Cache hits of 1 MB. Requests with a small zip are compared with nginx serving the same bytes to the same clients,
    /// alternately; requests with the whole model are timed.
    pub async fn hits(&self) -> Result<Vec<Row>> {
        let server = Server::start(self, &[("CACHE", "on")])?;
        let zip = bytes::Bytes::from(fs::read(self.model("middle.zip"))?);
        let whole = bytes::Bytes::from(fs::read(self.model("middle.glb"))?);
        let result = fill_cache(&server, ZIP, &zip).await?;
        fill_cache(&server, GLB, &whole).await?;
        let file = self.scratch.join("middle-result.glb");
        fs::write(&file, &result)?;
        let nginx = Other::nginx(self, &file)?;

        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            theirs.push(hammer(HITS, |client| client.get(&nginx.address)).await?);
            ours.push(hammer(HITS, |client| server.request(client, ZIP, zip.clone())).await?);
        }
        let mut times = Vec::new();
        for _ in 0..PAIRS {
            times.push(server.succeed(GLB, whole.clone()).await?);
        }
        let rate = |took: Duration| HITS as f64 / took.as_secs_f64();
        let (ours, theirs) = (rate(median(&mut ours)), rate(median(&mut theirs)));
        let hit = median(&mut times);
        // The model and the result are hashed, at 1 GB/s.
        let hashing = (whole.len() + result.len()) as f64 / 1e6;
        Ok(vec![
            Row::at_least(
                "cached results of 1 MB for 8 clients / nginx with the same file",
                format!("{ours:.0}/s for a zip of {} kB / {theirs:.0}/s", zip.len() / 1000),
                ours / theirs,
                0.5,
            ),
            Row::at_most(
                "median cache hit with 1 MB sent and received, minus 1 ms of hashing for each MB, in ms",
                show(hit),
                hit.as_secs_f64() * 1000.0 - hashing,
                2.0,
            ),
        ])
    }

    /// Small native conversions with a rate limit on Redis that is never reached, and without one, alternately.
    pub async fn limit(&self) -> Result<Row> {
        let redis = Other::redis(self)?;
        let usual = Server::start(self, &[("REDIS_URL", &redis.address)])?;
        let limited =
            Server::start(self, &[("REDIS_URL", &redis.address), ("RATE_LIMIT_REQUESTS", "100000")])?;
        let (without, with) = self.alternately(&usual, &limited).await?;
        let what = "a rate limit on Redis adds to the median of a small native conversion, in ms";
        Ok(Row::adds(what, with, without, 0.5))
    }

    /// Uncached conversions of 100 kB, with the cache on and off, alternately.
    pub async fn misses(&self) -> Result<Row> {
        let usual = Server::start(self, &[])?;
        let caching = Server::start(self, &[("CACHE", "on")])?;
        let (without, with) = self.alternately(&usual, &caching).await?;
        let what = "cache and store add to the median of an uncached conversion of 100 kB, in ms";
        Ok(Row::adds(what, with, without, 3.0))
    }

    /// The medians of two servers for native conversions of 100 kB, each under a different name.
    async fn alternately(&self, one: &Server, other: &Server) -> Result<(Duration, Duration)> {
        let model = bytes::Bytes::from(fs::read(self.model("small.glb"))?);
        let (mut ones, mut others) = (Vec::new(), Vec::new());
        for number in 0..PAIRS {
            let query = format!("output_format=glb&filename={number}.glb");
            ones.push(one.succeed(&query, model.clone()).await?);
            others.push(other.succeed(&query, model.clone()).await?);
        }
        Ok((median(&mut ones), median(&mut others)))
    }

    /// The memory and time of indexing many results that earlier processes have stored.
    pub fn many(&self) -> Result<Vec<Row>> {
        let store = self.scratch.join("many");
        // All entries share one result: only entries are measured, and entries without a result are removed.
        let result = [b'.'; 1000];
        let hash = blake3::hash(&result);
        let blobs = store.join("blobs").join(&hash.to_hex()[..2]);
        fs::create_dir_all(&blobs)?;
        fs::write(blobs.join(hash.to_hex().as_str()), result)?;
        for number in 0..ENTRIES {
            let identity = blake3::hash(&number.to_le_bytes());
            let entry = Entry::Result(Kept {
                hash,
                bytes: result.len() as u64,
                format: Format::Glb,
                main: None,
                zip: false,
                stem: format!("model-{number}").into(),
                report: uuid::Uuid::now_v7(),
                losses: 0,
            });
            let hex = identity.to_hex();
            let folder = store.join("entries").join(&hex[..2]);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(format!("{hex}.json")), entry.to_json())?;
        }
        let url = format!("file://{}", store.display());
        let settings = [("CACHE", "on"), ("LOG_LEVEL", "info,meshgate::cache=debug")];
        let none = Server::start_until(self, &settings, &[WARM, REBUILT])?;
        let many =
            Server::start_until(self, &[settings[0], settings[1], ("STORAGE_URL", &url)], &[WARM, REBUILT])?;
        let line = many.line(REBUILT)?;
        if !line.contains(&format!("entries={ENTRIES}")) {
            return Err(format!("the index lacks entries: {line}").into());
        }
        let rebuilt = many.after(REBUILT)?;
        let (with, without) = (many.status_kb("VmRSS")?, none.status_kb("VmRSS")?);
        let added = with.saturating_sub(without) as f64 / 1024.0;
        Ok(vec![
            Row::at_most(
                "memory of an index of 100,000 results, in MB",
                format!("{:.0} MB / {:.0} MB without", with as f64 / 1024.0, without as f64 / 1024.0),
                added,
                50.0,
            ),
            Row::at_most(
                "start until the index holds 100,000 results, in s",
                show(rebuilt),
                rebuilt.as_secs_f64(),
                2.0,
            ),
        ])
    }
}

/// Converts, checks that the same request is a hit then, and returns the result's bytes.
async fn fill_cache(server: &Server, query: &str, body: &bytes::Bytes) -> Result<bytes::Bytes> {
    let ask = || server.request(&server.client, query, body.clone()).send();
    let first = ask().await?.bytes().await?;
    let again = ask().await?;
    let how = again.headers().get("meshgate-cache").cloned();
    if how.is_none_or(|how| how != "hit") || again.bytes().await? != first {
        return Err("the second response is not a hit with the same bytes".into());
    }
    Ok(first)
}
