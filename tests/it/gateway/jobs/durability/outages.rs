//! Redis or the store is away, silent, or full.

use std::fs;
use std::time::{Duration, Instant};

use redis::cmd;
use reqwest::StatusCode;
use rustix::process::Signal;

use super::super::{FAST, REPACK, SLOW, assert_problem, below, path};
use super::check::ended_well;
use super::cluster::submit_until_accepted;
use super::{Cluster, Queue};
use crate::gateway::engine::motion;
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, LONG, PAUSE, TRIANGLE, scrape, until};
use crate::mounts::Mounted;
use crate::storage::server::Server;

/// Longer than a lease and the pauses of those that reconnect.
const LONGER_THAN_A_LEASE: Duration = Duration::from_secs(15);

fn redis(cluster: &mut Cluster) -> &mut crate::redis::RedisServer {
    let Queue::Redis(server, _) = &mut cluster.queue else { panic!("no redis") };
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_redis_costs_no_attempt() {
    let mut cluster = Cluster::on_redis().await;
    let (gateway, worker) = (cluster.gateway(), cluster.worker());
    let running = gateway.submit(&cluster.with_webhook(SLOW), motion()).await;
    worker.child().await;
    redis(&mut cluster).stop();
    let refused = gateway.submission(FAST, TRIANGLE).send().await.unwrap();
    assert_problem(refused, 503, "jobs_unavailable").await;
    tokio::time::sleep(LONGER_THAN_A_LEASE).await;
    redis(&mut cluster).resume();
    let job = submit_until_accepted(&gateway, &cluster.with_webhook(FAST), TRIANGLE.into(), "one").await;
    let running = gateway.succeeded(&running).await;
    assert_eq!(running["attempts"], 1, "{running}");
    assert_eq!(gateway.delete(path(&running)).await.status(), 204);
    gateway.succeeded(&job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_away_for_half_a_minute_costs_no_attempt() {
    let mut cluster = Cluster::on_redis().await;
    let (gateway, worker) = (cluster.gateway(), cluster.worker());
    let mut jobs = vec![gateway.submit(&cluster.with_webhook(FAST), TRIANGLE).await];
    let running = gateway.submit(SLOW, motion()).await;
    worker.child().await;
    redis(&mut cluster).kill();
    assert_problem(gateway.get(path(&running)).await, 503, "jobs_unavailable").await;
    tokio::time::sleep(2 * LONGER_THAN_A_LEASE).await;
    redis(&mut cluster).restart();
    jobs.push(submit_until_accepted(&gateway, &cluster.with_webhook(FAST), TRIANGLE.into(), "one").await);
    let running = gateway.succeeded(&running).await;
    assert_eq!(running["attempts"], 1, "{running}");
    assert_eq!(gateway.delete(path(&running)).await.status(), 204);
    ended_well(&cluster, &gateway, &jobs, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_model_is_received_while_redis_is_away() {
    let mut cluster = Cluster::on_redis().await;
    let gateway = cluster.gateway();
    let job = gateway.submit(FAST, TRIANGLE).await;
    let stored = cluster.objects("model").len();
    redis(&mut cluster).kill();
    gateway.until_says("/readyz", "redis is away", |ready| ready["checks"]["jobs"] != "ok").await;
    for path in ["/v1/jobs", "/convert"] {
        // The body never comes.
        let mut raw = gateway.raw();
        raw.send(format!(
            "POST {path}?{FAST} HTTP/1.1\r\nHost: x\r\nPrefer: respond-async\r\nContent-Length: 100000\r\n\r\n"
        ));
        let answer = raw.answer().unwrap();
        assert_eq!((answer.status, answer.problem().1.as_str()), (503, "jobs_unavailable"));
    }
    assert_problem(gateway.post(&below(&job, "retry")).await, 503, "jobs_unavailable").await;
    assert_eq!(cluster.objects("model").len(), stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_refuses_jobs_and_ends_those_it_has() {
    let mut cluster = Cluster::on_redis().await;
    let (gateway, worker) = (cluster.gateway(), cluster.worker());
    let running = gateway.submit(SLOW, motion()).await;
    worker.child().await;
    let mut look = redis(&mut cluster).connection();
    cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").exec(&mut look).unwrap();
    let submission = || gateway.submission(FAST, TRIANGLE);
    for request in [submission(), submission().header("idempotency-key", "full")] {
        let sentence = assert_problem(request.send().await.unwrap(), 503, "jobs_unavailable").await;
        assert!(sentence.contains("the memory of the queue is full"), "{sentence}");
    }
    gateway.succeeded(&running).await;
    // Jobs still run and can be read.
    assert_eq!(gateway.json("/readyz").await["checks"]["jobs"], "ok");
    cmd("CONFIG").arg("SET").arg("maxmemory").arg("0").exec(&mut look).unwrap();
    assert_eq!(gateway.delete(path(&running)).await.status(), 204);
    let job = submit_until_accepted(&gateway, &cluster.with_webhook(FAST), TRIANGLE.into(), "one").await;
    ended_well(&cluster, &gateway, &[job], 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_wait_for_a_store_that_is_away() {
    let cluster = Cluster::on_sqlite().await;
    let (gateway, worker) = (cluster.gateway(), cluster.worker());
    let mut jobs = vec![gateway.submit(SLOW, motion()).await];
    let held = worker.hold().await;
    for _ in 0..2 {
        jobs.push(gateway.submit(FAST, TRIANGLE).await);
    }
    let (store, away) = (cluster.data().join("store"), cluster.data().join("away"));
    fs::rename(&store, &away).unwrap();
    let refused = gateway.submission(REPACK, triangle()).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(held);
    // The running one ends, and cannot store its result; then the others find no model.
    let given_back = "meshgate_job_attempts_total{reason=\"store_unavailable\"} ";
    let began = Instant::now();
    loop {
        let metrics = scrape(&worker).await;
        let number = metrics.lines().find_map(|line| line.strip_prefix(given_back)?.parse::<u32>().ok());
        if number.unwrap_or_default() >= 2 {
            break;
        }
        assert!(began.elapsed() < LONG, "no attempt ends because of the store");
        tokio::time::sleep(PAUSE).await;
    }
    assert!(!store.join("jobs").exists(), "a process has made a new place for objects of jobs");
    // Checks of the store may make the rest of it anew at any time.
    fs::create_dir_all(&store).unwrap();
    fs::rename(away.join("jobs"), store.join("jobs")).unwrap();
    for job in &jobs {
        let job = gateway.succeeded(job).await;
        assert_eq!(job["attempts"], 1, "{job}");
        assert!(!gateway.result(&job).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_bucket_costs_no_attempt() {
    let cluster = Cluster::on_redis().await;
    let server = Server::start(&["--port", "0"], &[]);
    // moto creates a bucket for anybody.
    let bucket = reqwest::Client::new().put(format!("{}/jobs", server.address)).send().await.unwrap();
    assert_eq!(bucket.status(), 200);
    let store = [
        ("STORAGE_URL", "s3://jobs/models"),
        ("AWS_ENDPOINT", server.address.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let gateway = cluster.start("serve", &[&store[..], &[("WORKERS", "0")]].concat());
    let worker = cluster.worker_with(&store);
    let jobs = [gateway.submit(SLOW, motion()).await, gateway.submit(FAST, TRIANGLE).await];
    worker.child().await;
    server.signal(Signal::STOP);
    tokio::time::sleep(LONGER_THAN_A_LEASE).await;
    server.signal(Signal::CONT);
    for job in &jobs {
        let job = gateway.succeeded(job).await;
        assert_eq!(job["attempts"], 1, "{job}");
        assert!(!gateway.result(&job).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_clock_loses_no_job() {
    for hours in [-1, 1] {
        let cluster = Cluster::on_sqlite().await;
        let (gateway, worker) = (cluster.gateway(), cluster.worker());
        let running = gateway.submit(SLOW, motion()).await;
        worker.child().await;
        let waiting = gateway.submit(FAST, TRIANGLE).await;
        // For the service, a record whose times are off is the same as a clock that was moved.
        let moved = "UPDATE jobs SET created_at = created_at + ?1, started_at = started_at + ?1, \
                     expires_at = expires_at + ?1";
        let sql = cluster.sqlite();
        sql.busy_timeout(LONG).unwrap();
        assert!(sql.execute(moved, [hours * 3_600_000_i64]).unwrap() > 0);
        for job in [&running, &waiting] {
            let job = gateway.succeeded(job).await;
            assert_eq!(job["attempts"], 1, "{job}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the right to mount a disk; make test runs it where it has that"]
async fn a_full_disk_refuses_jobs_and_keeps_those_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Mounted::new(folder.path(), 16 << 20);
    let variables = [("DATA_DIR", disk.0.to_str().unwrap()), ("CACHE", "off"), ("WORKERS", "1")];
    let gateway = Gateway::start(&variables);
    let held = gateway.submit(SLOW, motion()).await;
    let holding = gateway.hold().await;
    let mut jobs = vec![held];
    for _ in 0..5 {
        jobs.push(gateway.submit(FAST, TRIANGLE).await);
    }
    let rest = disk.0.join("rest");
    let file = fs::File::create(&rest).unwrap();
    fill(&file);
    let refused =
        gateway.submission(FAST, format!("{TRIANGLE}#{}", "x".repeat(1 << 20))).send().await.unwrap();
    assert!([503, 507].contains(&refused.status().as_u16()), "{}", refused.status());
    // The server goes on while the disk is full, and says so.
    assert_eq!(gateway.get("/livez").await.status(), 200);
    drop(holding);
    // The system frees the space of a file once nobody has it open.
    drop(file);
    fs::remove_file(&rest).unwrap();
    for job in &jobs {
        gateway.succeeded(job).await;
    }
    until("nothing runs", || gateway.converting().is_empty());
    drop(gateway);
    drop(disk);
}

/// Fills the disk of a file.
fn fill(mut file: &fs::File) {
    use std::io::Write as _;
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}
