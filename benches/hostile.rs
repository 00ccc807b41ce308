//! The cost of models made to be expensive; `tests/hostile/` has more of them.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use tokio::time::sleep;

use super::gateway::Server;
use super::table::Row;
use super::{Bench, Result, median, percentile, show};

const PROBES: usize = 300;
const CLIPS: usize = 10_000;
const ROUNDS: usize = 5;
/// Bytes of JSON of the largest model.
const TEXT: usize = 38_000_000;

impl Bench {
    /// Conversion time by number of clips, latency of probes meanwhile, and memory for large JSON.
    pub async fn hostile(&self) -> Result<Vec<Row>> {
        let server = Arc::new(Server::start(self, &[])?);
        let (few, many) = (clips(CLIPS), clips(CLIPS * 10));
        let (mut for_few, mut for_many) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            for_few.push(server.succeed("output_format=glb&filename=a.gltf", few.clone()).await?);
            for_many.push(server.succeed("output_format=glb&filename=a.gltf", many.clone()).await?);
        }
        let (for_few, for_many) = (median(&mut for_few), median(&mut for_many));
        let ratio = for_many.as_secs_f64() / for_few.as_secs_f64();
        let mut rows = vec![Row::at_most(
            "glTF with 100,000 clips / with 10,000",
            format!("{} / {}", show(for_many), show(for_few)),
            ratio,
            12.0,
        )];

        let quiet = probes(&server).await?;
        let over = Arc::new(AtomicBool::new(false));
        let attackers: Vec<_> = (0..2)
            .map(|_| {
                let (server, model, over) = (Arc::clone(&server), many.clone(), Arc::clone(&over));
                tokio::spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        let _ = server.succeed("output_format=glb&filename=a.gltf", model.clone()).await;
                    }
                })
            })
            .collect();
        let attacked = probes(&server).await;
        over.store(true, Ordering::Relaxed);
        for attacker in attackers {
            attacker.await?;
        }
        let attacked = attacked?;
        rows.push(Row::at_most(
            "`/livez` beside two clients that send 100,000 clips each, p99 in ms",
            format!("{} / {} when idle", show(attacked), show(quiet)),
            attacked.as_secs_f64() * 1000.0,
            50.0,
        ));

        let idle = server.status_kb("VmRSS:")?;
        let model = objects();
        let calls = (0..4).map(|_| server.succeed("output_format=glb&filename=a.gltf", model.clone()));
        for answered in futures_util::future::join_all(calls).await {
            answered?;
        }
        let peak = server.status_kb("VmHWM:")?.saturating_sub(idle) / 1024;
        rows.push(Row::at_most(
            "memory for four models of 38 MB of small JSON objects at once, in MB",
            format!("{peak} MB above idle"),
            peak as f64,
            1024.0,
        ));
        sleep(Duration::from_secs(2)).await;
        let left = server.status_kb("VmRSS:")?.saturating_sub(idle) / 1024;
        rows.push(Row::at_most(
            "… of which this is left two seconds later, in MB",
            format!("{left} MB above idle"),
            left as f64,
            100.0,
        ));
        Ok(rows)
    }
}

/// The 99th percentile of the latency of `/livez`.
async fn probes(server: &Server) -> Result<Duration> {
    let client = Client::new();
    let mut times = Vec::new();
    for _ in 0..PROBES {
        let began = Instant::now();
        client.get(server.url("/livez")).send().await?.error_for_status()?;
        times.push(began.elapsed());
        sleep(Duration::from_millis(10)).await;
    }
    Ok(percentile(&mut times, 0.99))
}

fn clips(count: usize) -> String {
    let mut text = r#"{"asset":{"version":"2.0"},"nodes":[{}],"animations":["#.to_owned();
    for number in 0..count {
        let comma = if number > 0 { "," } else { "" };
        let _ = write!(text, r#"{comma}{{"name":"{number}","samplers":[],"channels":[]}}"#);
    }
    text + "]}"
}

/// A model with nearly as many JSON values as allowed, in the extension that names an avatar's bones.
fn objects() -> String {
    const OBJECT: &str = r#"{"bone":"hips"},"#;
    let head = r#"{"asset":{"version":"2.0"},"nodes":[{}],"extensions":{"VRM":{"humanoid":{"humanBones":["#;
    format!("{head}{}{{}}]}}}}}}}}", OBJECT.repeat(TEXT / OBJECT.len()))
}
