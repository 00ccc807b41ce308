//! A process is killed at every step of a job.

use super::super::{FAST, SLOW};
use super::check::ended_well;
use super::cluster::{kill, submit_until_accepted};
use super::trap::Moment;
use super::{Cluster, Queue};
use crate::busy_engine::alive;
use crate::gateway::engine::{motion, send};
use crate::gateway::{Gateway, TRIANGLE, until};
use crate::webhooks::receiver::Reply;
use rustix::process::Signal;

suite! {
    {
        sqlite: crate::gateway::jobs::durability::Cluster::on_sqlite().await,
        redis: crate::gateway::jobs::durability::Cluster::on_redis().await,
    }
    {
        killed_after_storing_the_model
        killed_after_recording_the_job
        killed_after_taking_the_job
        killed_after_storing_the_result
        killed_after_recording_the_end
        killed_during_the_conversion
        a_lost_child_or_zygote_costs_no_job
    }
}

async fn killed_after_storing_the_model(cluster: Cluster) {
    dies_at(cluster, Moment::BeforeRecord).await;
}

async fn killed_after_recording_the_job(cluster: Cluster) {
    dies_at(cluster, Moment::AfterRecord).await;
}

async fn killed_after_taking_the_job(cluster: Cluster) {
    dies_at(cluster, Moment::AfterTake).await;
}

async fn killed_after_storing_the_result(cluster: Cluster) {
    dies_at(cluster, Moment::BeforeEnd).await;
}

async fn killed_after_recording_the_end(cluster: Cluster) {
    dies_at(cluster, Moment::AfterEnd).await;
}

/// Kills the process whose step it is, and starts another one.
async fn dies_at(cluster: Cluster, moment: Moment) {
    let (mut gateway, mut worker) = (cluster.gateway(), cluster.worker());
    cluster.warm_up(&gateway).await;
    let trap = cluster.set_trap(moment, &worker);
    let first = begin(&cluster, &gateway, moment);
    let trap = cluster.until_trapped(moment, trap);
    let died = if moment.is_of_worker() { &mut worker } else { &mut gateway };
    let below = died.descendants();
    kill(died);
    drop(trap);
    until("no process of it is left", || !below.iter().any(|pid| alive(*pid)));
    if moment.is_of_worker() {
        worker = cluster.worker();
    } else {
        gateway = cluster.gateway();
    }
    let _ = first.await;
    finish(&cluster, &gateway, usize::from(moment == Moment::BeforeRecord)).await;
    drop(worker);
}

/// Submits a job, as a client that may be interrupted.
fn begin(
    cluster: &Cluster,
    gateway: &Gateway,
    moment: Moment,
) -> tokio::task::JoinHandle<reqwest::Result<reqwest::Response>> {
    let mut request = gateway.submission(&cluster.with_webhook(FAST), TRIANGLE);
    // A key is reserved in the queue before the model is stored, and a trap in SQLite would stop that.
    if moment != Moment::BeforeRecord {
        request = request.header("idempotency-key", "one");
    }
    tokio::spawn(request.send())
}

/// Repeats the submission, whose job must be the same one, and checks how it ends.
async fn finish(cluster: &Cluster, gateway: &Gateway, abandoned: usize) {
    let job = submit_until_accepted(gateway, &cluster.with_webhook(FAST), TRIANGLE.into(), "one").await;
    ended_well(cluster, gateway, &[job], abandoned).await;
}

async fn killed_during_the_conversion(cluster: Cluster) {
    let (gateway, mut worker) = (cluster.gateway(), cluster.worker());
    let job = gateway.submit(&cluster.with_webhook(SLOW), motion()).await;
    let child = worker.child().await;
    kill(&mut worker);
    until("its child is gone", || !alive(child));
    let _other = cluster.worker();
    let job = gateway.succeeded(&job).await;
    assert_eq!(job["attempts"], 2, "{job}");
}

async fn a_lost_child_or_zygote_costs_no_job(cluster: Cluster) {
    let (gateway, worker) = (cluster.gateway(), cluster.worker());
    for lose_zygote in [false, true] {
        let job = gateway.submit(SLOW, motion()).await;
        let child = worker.child().await;
        let lost = if lose_zygote { worker.zygotes() } else { vec![child] };
        for pid in lost {
            send(pid, Signal::KILL);
        }
        let job = gateway.succeeded(&job).await;
        assert!(!alive(child), "{job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_dies_at_every_step() {
    for moment in
        [Moment::BeforeRecord, Moment::AfterRecord, Moment::AfterTake, Moment::BeforeEnd, Moment::AfterEnd]
    {
        let mut cluster = Cluster::on_redis().await;
        let (gateway, worker) = (cluster.gateway(), cluster.worker());
        cluster.warm_up(&gateway).await;
        let trap = cluster.set_trap(moment, &worker);
        let first = begin(&cluster, &gateway, moment);
        drop(cluster.until_trapped(moment, trap));
        let Queue::Redis(server, _) = &mut cluster.queue else { unreachable!() };
        server.kill();
        server.restart();
        let _ = first.await;
        // The gateway itself removes the model of a job that was surely not recorded; otherwise it is found by its age.
        let job = submit_until_accepted(&gateway, &cluster.with_webhook(FAST), TRIANGLE.into(), "one").await;
        let abandoned = cluster.objects_without(std::slice::from_ref(&job));
        ended_well(&cluster, &gateway, &[job], abandoned).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_dies_between_two_attempts_to_deliver_a_webhook() {
    let replies = [Reply::Status(500, ""), Reply::Status(204, "")];
    for queue in [Queue::Sqlite, Cluster::redis()] {
        let cluster = Cluster::new(queue, &replies).await;
        let (mut gateway, mut worker) = (cluster.gateway(), cluster.worker());
        let job = gateway.submit(&cluster.with_webhook(FAST), TRIANGLE).await;
        until("the first attempt has failed", || !cluster.receiver.received().is_empty());
        kill(&mut gateway);
        kill(&mut worker);
        let gateway = cluster.gateway();
        until("the second one arrives", || cluster.receiver.received().len() == 2);
        ended_well(&cluster, &gateway, &[job], 0).await;
    }
}
