//! Random kills while jobs run; with many jobs in `make chaos`.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use uuid::Uuid;

use super::super::FAST;
use super::check::ended_well;
use super::cluster::{kill, submit_until_accepted};
use super::{Cluster, Queue};
use crate::gateway::engine::send;
use crate::gateway::{Gateway, TRIANGLE};

/// Pause between two kills.
const EVERY: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn no_job_is_lost_on_sqlite() {
    kill_at_random(Cluster::on_sqlite().await, 40, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_job_is_lost_on_redis() {
    kill_at_random(Cluster::on_redis().await, 40, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; make chaos runs it"]
async fn no_job_of_many_is_lost_on_sqlite() {
    kill_at_random(Cluster::on_sqlite().await, 500, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; make chaos runs it"]
async fn no_job_of_many_is_lost_on_redis() {
    kill_at_random(Cluster::on_redis().await, 500, 60).await;
}

/// Submits jobs from a client that repeats its requests, and kills a process each second meanwhile, and after that, until
/// there were as many kills: a gateway, a worker, a zygote or a child, or Redis.
async fn kill_at_random(mut cluster: Cluster, jobs: usize, kills: usize) {
    let (mut gateway, mut workers) = (cluster.gateway(), [cluster.worker(), cluster.worker()]);
    let (mut accepted, mut killed) = (Vec::new(), 0);
    let mut next = Instant::now() + EVERY;
    while accepted.len() < jobs || killed < kills {
        if accepted.len() < jobs {
            let (key, query) = (format!("job-{}", accepted.len()), cluster.with_webhook(FAST));
            accepted.push(submit_until_accepted(&gateway, &query, TRIANGLE.into(), &key).await);
        } else {
            tokio::time::sleep(next.saturating_duration_since(Instant::now())).await;
        }
        if killed < kills && Instant::now() >= next {
            kill_one(&mut cluster, &mut gateway, &mut workers);
            killed += 1;
            next = Instant::now() + EVERY;
        }
    }
    // By then, the gateway has found a Redis that was killed last.
    let query = cluster.with_webhook(FAST);
    accepted.push(submit_until_accepted(&gateway, &query, TRIANGLE.into(), "last").await);
    ended_well(&cluster, &gateway, &accepted, cluster.objects_without(&accepted)).await;
}

fn kill_one(cluster: &mut Cluster, gateway: &mut Gateway, workers: &mut [Gateway; 2]) {
    // The second half of such an ID is random.
    let random = Uuid::now_v7().as_u128() as usize;
    let worker = (random >> 8) % 2;
    match random % 5 {
        0 => {
            kill(gateway);
            *gateway = cluster.gateway();
        }
        1 => {
            kill(&mut workers[worker]);
            workers[worker] = cluster.worker();
        }
        2 => workers[worker].zygotes().iter().for_each(|pid| send(*pid, Signal::KILL)),
        3 => workers[worker].converting().iter().for_each(|pid| send(*pid, Signal::KILL)),
        _ => {
            if matches!(cluster.queue, Queue::Redis(..)) {
                cluster.restart_redis();
            }
        }
    }
}
