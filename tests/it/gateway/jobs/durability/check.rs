//! What must be true after whatever happened.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use serde_json::Value;

use super::super::events::{check, follow};
use super::super::path;
use super::cluster::undisturbed;
use super::{Cluster, Queue};
use crate::gateway::{Gateway, LONG, PAUSE, until};

/// Waits for the end of these jobs, conversions of [`super::super::FAST`] with a webhook, and checks that each has ended
/// once, with the right result and its webhook. Then removes them, and checks that nothing is left. `abandoned`: objects
/// that belong to no job, because a process died between storing a model and recording the job.
pub async fn ended_well(cluster: &Cluster, gateway: &Gateway, jobs: &[Value], abandoned: usize) {
    let ids: HashSet<&str> = jobs.iter().map(id).collect();
    assert_eq!(ids.len(), jobs.len(), "two jobs for one submission");
    for job in jobs {
        let job = gateway.succeeded(job).await;
        assert!(gateway.result(&job).await == undisturbed().await, "{job}");
        let events = follow(gateway, &job, None).await;
        check(&events, "succeeded");
        let ends = events.iter().filter(|event| event.name == "state" && event.data["state"] == "succeeded");
        assert_eq!(ends.count(), 1, "{events:#?}");
    }
    webhooks_arrived(cluster, &ids);
    for job in jobs {
        let removed = gateway.delete(path(job)).await.status();
        assert!([204, 404].contains(&removed.as_u16()), "{removed}");
    }
    assert_eq!(gateway.json("/v1/jobs").await["jobs"], serde_json::json!([]), "jobs that nobody knows");
    let began = Instant::now();
    while cluster.leftovers().len() != abandoned {
        assert!(began.elapsed() < LONG, "{abandoned} should be left: {:#?}", cluster.leftovers());
        tokio::time::sleep(PAUSE).await;
    }
    if let Queue::Redis(server, _) = &cluster.queue {
        // What is left belongs to no job: counters, and keys for idempotency.
        let left: Vec<String> = server.keys();
        let lasting = ["counts", "sequence", "served", "used:", "nothing"];
        let unknown: Vec<&String> =
            left.iter().filter(|key| !lasting.iter().any(|known| key.contains(known))).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

/// Waits until the webhook of each job has arrived. A repeated one has the same ID.
fn webhooks_arrived(cluster: &Cluster, jobs: &HashSet<&str>) {
    let arrived = || {
        let mut arrived: HashMap<String, HashSet<String>> = HashMap::new();
        for request in cluster.receiver.received() {
            let body: Value = serde_json::from_str(&request.body).unwrap();
            let ids = arrived.entry(body["data"]["id"].as_str().unwrap().to_owned()).or_default();
            ids.insert(request.header("webhook-id").to_owned());
        }
        arrived
    };
    until("every webhook has arrived", || arrived().len() >= jobs.len());
    for (job, ids) in arrived() {
        assert!(jobs.contains(job.as_str()), "a webhook of a job that nobody submitted: {job}");
        assert_eq!(ids.len(), 1, "webhooks of one job with several IDs: {ids:?}");
    }
}

fn id(job: &Value) -> &str {
    job["id"].as_str().unwrap()
}
