//! Workers that are stopped, restarted, or killed by a job.

use std::collections::HashSet;

use rustix::process::Signal;

use super::super::{FAST, SLOW, below, path};
use super::Cluster;
use super::check::ended_well;
use super::cluster::{kill, submit_until_accepted};
use crate::gateway::engine::motion;
use crate::gateway::{Gateway, TRIANGLE, until};

suite! {
    {
        sqlite: crate::gateway::jobs::durability::Cluster::on_sqlite().await,
        redis: crate::gateway::jobs::durability::Cluster::on_redis().await,
    }
    {
        a_worker_that_was_stopped_for_longer_than_its_lease_changes_nothing
        a_job_that_kills_its_workers_ends
        a_rolling_restart_loses_nothing
    }
}

async fn a_worker_that_was_stopped_for_longer_than_its_lease_changes_nothing(cluster: Cluster) {
    let (gateway, stopped) = (cluster.gateway(), cluster.worker());
    let job = gateway.submit(SLOW, motion()).await;
    stopped.child().await;
    stopped.signal(Signal::STOP);
    let other = cluster.worker();
    let job = gateway.succeeded(&job).await;
    assert_eq!(job["attempts"], 2, "{job}");
    let result = gateway.result(&job).await;
    assert_eq!(cluster.objects("result").len(), 1);
    stopped.signal(Signal::CONT);
    // Its child is cancelled, or it ends and is told that its lease was lost.
    until("the stopped worker is idle", || stopped.converting().is_empty());
    stopped.wait_for("an attempt ended");
    let after = gateway.json(path(&job)).await;
    assert_eq!((&after["state"], &after["ended_at"]), (&job["state"], &job["ended_at"]), "{after}");
    assert!(gateway.result(&after).await == result);
    until("only one result is kept", || cluster.objects("result").len() == 1);
    drop(other);
}

async fn a_job_that_kills_its_workers_ends(cluster: Cluster) {
    let gateway = cluster.gateway();
    let poisoned = gateway.submit(SLOW, motion()).await;
    for _ in 0..3 {
        let mut worker = cluster.worker();
        worker.child().await;
        kill(&mut worker);
    }
    let worker = cluster.worker();
    let job = gateway.ended(&poisoned).await;
    assert_eq!((&job["state"], &job["error"]["code"]), (&"failed".into(), &"engine_crashed".into()), "{job}");
    assert_eq!(job["attempts"], 3, "{job}");
    // The model is kept for inspection, and for a retry; other jobs go on.
    assert_eq!(cluster.objects("model").len(), 1);
    let retried = super::super::accepted(gateway.post(&below(&job, "retry")).await).await;
    let other = gateway.submit(FAST, TRIANGLE).await;
    gateway.succeeded(&retried).await;
    gateway.succeeded(&other).await;
    drop(worker);
}

async fn a_rolling_restart_loses_nothing(cluster: Cluster) {
    const JOBS: usize = 30;
    let mut gateways = [cluster.gateway(), cluster.gateway()];
    let mut workers = [cluster.worker(), cluster.worker()];
    let mut jobs = Vec::new();
    for number in 0..JOBS {
        let key = format!("job-{number}");
        let gateway = &gateways[number % 2];
        jobs.push(submit_until_accepted(gateway, &cluster.with_webhook(FAST), TRIANGLE.into(), &key).await);
        if number % 8 == 7 {
            let place = (number / 8) % 2;
            restart(&mut workers[place], || cluster.worker());
            restart(&mut gateways[place], || cluster.gateway());
        }
    }
    for job in &jobs {
        let job = gateways[0].succeeded(job).await;
        // A worker that stops gives its jobs back, which is not an attempt.
        assert_eq!(job["attempts"], 1, "{job}");
    }
    let ids: HashSet<_> = jobs.iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), JOBS);
    ended_well(&cluster, &gateways[0], &jobs, 0).await;
}

fn restart(process: &mut Gateway, start: impl Fn() -> Gateway) {
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(0));
    *process = start();
}
