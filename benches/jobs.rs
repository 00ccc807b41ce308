//! Jobs: what they cost beside conversions in requests, and what many of them need.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use meshgate::config::{self, Config, Sources};
use meshgate::domain::{Client, Format};
use meshgate::jobs::{InputFile, JobSpec, Limits, NewJob, Queue, RedisQueue, SqliteQueue, Submission};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::cache::Other;
use super::gateway::{DISTINCT, Server, WARM, distinct, distinct_http};
use super::table::Row;
use super::{Bench, Result, median, show};

const SINGLE: usize = 60;
const ACCEPTED: usize = 1500;
const SUBMITTERS: usize = 8;
const MANY: u32 = 100_000;
const CALLS: usize = 200;
const STREAMS: usize = 1000;
const ROUNDS: usize = 3;

/// Repacks `small.glb`, which needs no engine.
const REPACK: &str = "output_format=gltf&filename=a.glb";
/// Converts what [`distinct`] makes.
const CONVERT: &str = "output_format=glb&filename=a.obj";

/// Converts `middle.glb`, with a scale after it.
const SCALE: &str = "output_format=stl&filename=a.glb&scale=";
/// Jobs of `middle.glb`.
const SCALED: usize = 40;

/// The largest numbers of jobs and bytes that the settings allow.
const NO_LIMITS: [(&str, &str); 2] = [("JOBS_LIMIT", "1000000"), ("JOBS_MAX_SIZE", "1000G")];

/// Longest wait for the end of jobs.
const PATIENCE: Duration = Duration::from_mins(5);

impl Bench {
    /// The time from the acceptance of a job to its start, in an empty queue, by the queue's own clock.
    pub async fn job_start(&self) -> Result<Vec<Row>> {
        let (folder, redis) = (tempfile::tempdir_in(&self.disk)?, self.lasting_redis()?);
        let data = folder.path().to_string_lossy().into_owned();
        let embedded = Server::start(self, &[("DATA_DIR", &data)])?;
        let shared = Server::start(self, &[("JOBS_REDIS_URL", &redis.address)])?;
        let (mut own, mut others) = (Vec::new(), Vec::new());
        let model = fs::read(self.model("small.glb"))?;
        for _ in 0..SINGLE {
            own.push(started_after(&embedded, &model).await?);
            others.push(started_after(&shared, &model).await?);
        }
        Ok([
            ("a job accepted → running in an empty queue, in ms: embedded, on this disk", own),
            ("a job accepted → running in an empty queue, in ms: on Redis", others),
        ]
        .map(|(what, mut times)| {
            let time = median(&mut times);
            Row::at_most(what, show(time), time.as_secs_f64() * 1000.0, 10.0)
        })
        .into())
    }

    /// A small conversion in a request: to a gateway and a worker of one slot over one Redis, and to a server with one slot,
    /// alternately.
    pub async fn job_requests(&self) -> Result<Row> {
        let (folder, redis) = (tempfile::tempdir_in(&self.disk)?, self.lasting_redis()?);
        let data = folder.path().to_string_lossy().into_owned();
        let shared = [("DATA_DIR", data.as_str()), ("JOBS_REDIS_URL", &redis.address)];
        let one_slot = [("WORKERS", "1")];
        let gateway = gateway_alone(self, &shared)?;
        let _worker = Server::start_as(self, "worker", &[&shared[..], &one_slot].concat(), &[WARM])?;
        let alone = Server::start(self, &one_slot)?;
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for number in 0..SINGLE {
            for (server, times) in [(&gateway, &mut with), (&alone, &mut without)] {
                let request = server.client.post(server.url(&format!("/convert?{CONVERT}")));
                let began = Instant::now();
                let answer = request.body(distinct(number)).send().await?.error_for_status()?;
                answer.bytes().await?;
                times.push(began.elapsed());
            }
        }
        let what =
            "a small conversion in a request: by a gateway and a worker / by a server, ms that it adds";
        Ok(Row::adds(what, median(&mut with), median(&mut without), 15.0))
    }

    /// Distinct small conversions by four clients in requests, and the same number as jobs, alternately.
    pub async fn job_throughput(&self) -> Result<Row> {
        let server = Arc::new(Server::start(self, &NO_LIMITS)?);
        let (mut requests, mut jobs) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            requests.push(distinct_http(&server, 2 * round * DISTINCT, 4).await?.0);
            jobs.push(distinct_jobs(&server, (2 * round + 1) * DISTINCT, DISTINCT, smallest).await?);
        }
        let rate = |took: Duration| DISTINCT as f64 / took.as_secs_f64();
        let (requests, jobs) = (rate(median(&mut requests)), rate(median(&mut jobs)));
        Ok(Row::at_least(
            "distinct small conversions as jobs / in requests by 4 clients",
            format!("{jobs:.0}/s / {requests:.0}/s"),
            jobs / requests,
            0.9,
        ))
    }

    /// Small jobs from eight clients to a gateway with the queue and the store on this disk, each durable.
    pub async fn job_acceptance(&self) -> Result<Row> {
        let folder = tempfile::tempdir_in(&self.disk)?;
        let data = folder.path().to_string_lossy().into_owned();
        let server = gateway_alone(self, &[("DATA_DIR", &data)])?;
        let model = bytes::Bytes::from(fs::read(self.model("small.glb"))?);
        let began = Instant::now();
        let mut clients = JoinSet::new();
        for _ in 0..SUBMITTERS {
            let requests: Vec<_> =
                (0..ACCEPTED / SUBMITTERS).map(|_| submission(&server, REPACK, model.clone())).collect();
            clients.spawn(async move {
                for request in requests {
                    accepted(request).await?;
                }
                Ok::<(), String>(())
            });
        }
        while let Some(done) = clients.join_next().await {
            done??;
        }
        let rate = ACCEPTED as f64 / began.elapsed().as_secs_f64();
        let what = "small jobs accepted from 8 clients, each durable on this disk, per second";
        Ok(Row::at_least(what, format!("{rate:.0}/s, {} kB each", model.len() / 1000), rate, 300.0))
    }

    /// Two worker processes with one slot each, compared with one, over one Redis. With the smallest models, a good part
    /// of the processors' time is that of the gateway, of Redis and of the clients, which share them here.
    pub async fn job_workers(&self) -> Result<Vec<Row>> {
        let middle = fs::read(self.model("middle.glb"))?;
        // Each scale makes another result.
        let scaled = move |number| (format!("{SCALE}1.{number:04}"), middle.clone());
        Ok(vec![
            self.two_workers("jobs of 1 MB models: 2 worker processes of one slot / 1", SCALED, scaled)
                .await?,
            self.two_workers(
                "jobs of the smallest models: 2 worker processes of one slot / 1",
                DISTINCT,
                smallest,
            )
            .await?,
        ])
    }

    async fn two_workers(&self, what: &'static str, jobs: usize, model: impl Model) -> Result<Row> {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            for (workers, times) in [(1, &mut one), (2, &mut two)] {
                let (folder, redis) = (tempfile::tempdir_in(&self.scratch)?, self.lasting_redis()?);
                let data = folder.path().to_string_lossy().into_owned();
                let shared = [("DATA_DIR", data.as_str()), ("JOBS_REDIS_URL", &redis.address)];
                let gateway = Arc::new(gateway_alone(self, &shared)?);
                let with_one_slot = [&shared[..], &[("WORKERS", "1")]].concat();
                let _workers = (0..workers)
                    .map(|_| Server::start_as(self, "worker", &with_one_slot, &[WARM]))
                    .collect::<Result<Vec<_>>>()?;
                times.push(distinct_jobs(&gateway, round * jobs, jobs, model.clone()).await?);
            }
        }
        let rate = |took: Duration| jobs as f64 / took.as_secs_f64();
        let (one, two) = (rate(median(&mut one)), rate(median(&mut two)));
        Ok(Row::at_least(what, format!("{two:.1}/s / {one:.1}/s"), two / one, 1.7))
    }

    /// A hundred thousand queued jobs: memory, and the times of calls.
    pub async fn many_jobs(&self) -> Result<Vec<Row>> {
        let folder = tempfile::tempdir_in(&self.scratch)?;
        let data = folder.path().to_string_lossy().into_owned();
        let file = folder.path().join("jobs.sqlite");
        let embedded = [("DATA_DIR", data.as_str())];
        let mut rows = self
            .many_jobs_in(
                [
                    "100,000 queued jobs, embedded: memory that they add to a gateway, in MB",
                    "100,000 queued jobs, embedded: memory that they add to a worker, in MB",
                    "100,000 queued jobs, embedded: state of a job, median in ms",
                    "100,000 queued jobs, embedded: a page of the list, median in ms",
                    "100,000 queued jobs, embedded: take, median in ms",
                ],
                &embedded,
                async || Ok(Arc::new(SqliteQueue::open(&file, unlimited())?) as Arc<dyn Queue>),
            )
            .await?;
        let (redis, folder) = (self.lasting_redis()?, tempfile::tempdir_in(&self.scratch)?);
        let data = folder.path().to_string_lossy().into_owned();
        let shared = [("DATA_DIR", data.as_str()), ("JOBS_REDIS_URL", redis.address.as_str())];
        let settings = redis_settings(&redis.address)?;
        rows.extend(
            self.many_jobs_in(
                [
                    "100,000 queued jobs on Redis: memory that they add to a gateway, in MB",
                    "100,000 queued jobs on Redis: memory that they add to a worker, in MB",
                    "100,000 queued jobs on Redis: state of a job, median in ms",
                    "100,000 queued jobs on Redis: a page of the list, median in ms",
                    "100,000 queued jobs on Redis: take, median in ms",
                ],
                &shared,
                async || {
                    Ok(Arc::new(RedisQueue::open(&settings, unlimited(), false).await?) as Arc<dyn Queue>)
                },
            )
            .await?,
        );
        Ok(rows)
    }

    async fn many_jobs_in(
        &self,
        what: [&'static str; 5],
        variables: &[(&str, &str)],
        open: impl AsyncFn() -> Result<Arc<dyn Queue>>,
    ) -> Result<Vec<Row>> {
        let start = |subcommand, workers| {
            let variables = [variables, &NO_LIMITS, &[("WORKERS", workers)]].concat();
            Server::start_as(self, subcommand, &variables, &["listening"])
        };
        let idle_gateway = settled_kb(&start("serve", "0")?).await?;
        let idle_worker = settled_kb(&start("worker", "1")?).await?;

        let queue = open().await?;
        let id = fill(&queue).await?;
        let mut takes = Vec::new();
        for _ in 0..CALLS {
            let began = Instant::now();
            let claim = queue.take("benchmark").await?.ok_or("no job is left")?;
            takes.push(began.elapsed());
            // So that the jobs stay queued.
            queue.give_back(claim.job.id, claim.token, meshgate::jobs::GiveBack::Stopping).await?;
        }
        drop(queue);

        let gateway = start("serve", "0")?;
        let state = calls(&gateway, &format!("/v1/jobs/{id}")).await?;
        let list = calls(&gateway, "/v1/jobs?page_size=100").await?;
        let with_gateway = settled_kb(&gateway).await?;
        // Its jobs fail, since their models are not in the store.
        let with_worker = settled_kb(&start("worker", "1")?).await?;
        let added = |with: u64, idle: u64| (with.saturating_sub(idle)) as f64 / 1024.0;
        let memory = |what, with: u64, idle: u64| {
            Row::at_most(what, format!("{} MB / {} MB idle", with >> 10, idle >> 10), added(with, idle), 50.0)
        };
        let [of_gateway, of_worker, of_state, of_list, of_take] = what;
        let time = |what, mut times: Vec<Duration>, goal| {
            let time = median(&mut times);
            Row::at_most(what, show(time), time.as_secs_f64() * 1000.0, goal)
        };
        Ok(vec![
            memory(of_gateway, with_gateway, idle_gateway),
            memory(of_worker, with_worker, idle_worker),
            time(of_state, state, 5.0),
            time(of_list, list, 20.0),
            time(of_take, takes, 5.0),
        ])
    }

    /// Many clients that follow a job.
    pub async fn job_streams(&self) -> Result<Row> {
        let server = gateway_alone(self, &[("MAX_CONNECTIONS", "8192")])?;
        let model = fs::read(self.model("small.glb"))?;
        let job = accepted(submission(&server, REPACK, model)).await?;
        let events = server.url(&format!("{}/events", text(&job["links"]["self"])));
        let idle = settled_kb(&server).await?;
        let mut streams = Vec::new();
        for _ in 0..STREAMS {
            let mut stream = server.client.get(&events).send().await?;
            if stream.status() != StatusCode::OK || stream.chunk().await?.is_none() {
                return Err(format!("a stream of events returned {}", stream.status()).into());
            }
            streams.push(stream);
        }
        let open = settled_kb(&server).await?;
        Ok(Row::at_most(
            "memory of 1,000 open streams of events, in MB",
            format!("{} MB / {} MB without", open >> 10, idle >> 10),
            open.saturating_sub(idle) as f64 / 1024.0,
            30.0,
        ))
    }

    /// A Redis that may keep jobs.
    fn lasting_redis(&self) -> Result<Other> {
        Other::redis_with(self, &["--appendonly", "yes", "--maxmemory-policy", "noeviction"])
    }
}

/// A gateway that converts nothing.
fn gateway_alone(bench: &Bench, variables: &[(&str, &str)]) -> Result<Server> {
    let variables = [variables, &NO_LIMITS, &[("WORKERS", "0")]].concat();
    Server::start_as(bench, "serve", &variables, &["listening"])
}

fn unlimited() -> Limits {
    let (jobs, bytes) = (u64::from(u32::MAX), 1 << 50);
    Limits { jobs, client_jobs: jobs, bytes, client_bytes: bytes, ttl: Duration::from_hours(24) }
}

fn redis_settings(url: &str) -> Result<config::Redis> {
    let config = Config::load(&Sources::new([("REDIS_URL".into(), url.into())]));
    Ok(config.map_err(|_| "the address of Redis is wrong")?.redis.ok_or("no Redis")?)
}

fn submission(server: &Server, query: &str, model: impl Into<reqwest::Body>) -> RequestBuilder {
    server.client.post(server.url(&format!("/v1/jobs?{query}"))).body(model)
}

/// Submits a job, and returns it.
async fn accepted(request: RequestBuilder) -> std::result::Result<Value, String> {
    let answer = request.send().await.map_err(|error| error.to_string())?;
    if answer.status() != StatusCode::ACCEPTED {
        return Err(format!("a job was answered with {}", answer.status()));
    }
    answer.json().await.map_err(|error| error.to_string())
}

/// Submits a job, and returns the time until it was started.
async fn started_after(server: &Server, model: &[u8]) -> Result<Duration> {
    let job = accepted(submission(server, REPACK, model.to_vec())).await?;
    let job = ended(server, text(&job["links"]["self"])).await?;
    let time = |field: &str| OffsetDateTime::parse(text(&job[field]), &Rfc3339);
    Ok((time("started_at")? - time("created_at")?).unsigned_abs())
}

/// Waits for the end of a job that is to succeed.
async fn ended(server: &Server, path: &str) -> Result<Value> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let request = server.client.get(server.url(path)).header("prefer", "wait=20");
        let job: Value = request.send().await?.json().await?;
        match text(&job["state"]) {
            "succeeded" => return Ok(job),
            "queued" | "running" => {}
            _ => return Err(format!("a job did not succeed: {job}").into()),
        }
    }
    Err("a job does not end".into())
}

/// The query and the model of a job with this number.
trait Model: Fn(usize) -> (String, Vec<u8>) + Clone + Send + 'static {}

impl<M: Fn(usize) -> (String, Vec<u8>) + Clone + Send + 'static> Model for M {}

fn smallest(number: usize) -> (String, Vec<u8>) {
    (CONVERT.to_owned(), distinct(number))
}

/// Submits that many conversions from four clients; returns the time until all have ended.
async fn distinct_jobs(
    server: &Arc<Server>,
    first: usize,
    jobs: usize,
    model: impl Model,
) -> Result<Duration> {
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let (server, next, model) = (Arc::clone(server), Arc::clone(&next), model.clone());
        clients.spawn(async move {
            let mut paths = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= jobs {
                    return Ok::<_, String>(paths);
                }
                let (query, model) = model(first + number);
                let job = accepted(submission(&server, &query, model)).await?;
                paths.push(text(&job["links"]["self"]).to_owned());
            }
        });
    }
    let mut paths = Vec::new();
    while let Some(done) = clients.join_next().await {
        paths.extend(done??);
    }
    for path in paths {
        ended(server, &path).await?;
    }
    Ok(began.elapsed())
}

/// Queues jobs of clients without a key at this address; returns the ID of one in the middle.
async fn fill(queue: &Arc<dyn Queue>) -> Result<Uuid> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut writers = JoinSet::new();
    for _ in 0..64 {
        let (queue, next) = (Arc::clone(queue), Arc::clone(&next));
        writers.spawn(async move {
            let mut middle = None;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= MANY as usize {
                    return Ok::<_, String>(middle);
                }
                let id = Uuid::now_v7();
                let new = NewJob { id, spec: spec(number), idempotency: None };
                match queue.submit(new).await {
                    Ok(Submission::New(_)) => {}
                    other => return Err(format!("{other:?}")),
                }
                if number == MANY as usize / 2 {
                    middle = Some(id);
                }
            }
        });
    }
    let mut middle = None;
    while let Some(done) = writers.join_next().await {
        middle = done??.or(middle);
    }
    Ok(middle.ok_or("no job is in the middle")?)
}

fn spec(number: usize) -> JobSpec {
    let input =
        InputFile { name: format!("model-{number}.glb"), hash: blake3::hash(b"model"), bytes: 100_000 };
    let client = Client::address([127, 0, 0, 1].into());
    JobSpec { input: vec![input], ..JobSpec::new(client, Format::Gltf, Uuid::now_v7().to_string()) }
}

/// Times of calls, one after the other.
async fn calls(server: &Server, path: &str) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..CALLS {
        let began = Instant::now();
        let answer = server.client.get(server.url(path)).send().await?;
        if answer.status() != StatusCode::OK {
            return Err(format!("{path} returned {}", answer.status()).into());
        }
        answer.bytes().await?;
        times.push(began.elapsed());
    }
    Ok(times)
}

/// The resident memory of a process once it has done for a few seconds what it does by itself, in kB.
async fn settled_kb(server: &Server) -> Result<u64> {
    tokio::time::sleep(Duration::from_secs(4)).await;
    server.status_kb("VmRSS:")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
