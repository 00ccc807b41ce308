//! A process is killed at every step of a job.

use super::super::{FAST, SLOW};
use super::check::ended_well;
use super::cluster::{kill, submit_until_accepted, until_found};
use super::trap::Moment;
use super::{Cluster, Queue};
use crate::busy_engine::alive;
use crate::gateway::engine::{motion, send};
use crate::gateway::{Gateway, TRIANGLE, until};
use crate::webhooks::receiver::Reply;
use rustix::process::Signal;
use serde_json::Value;

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
        a_killed_child_costs_no_job
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

/// Kills one process after the other at this moment of a job of its own, and starts another one.
async fn dies_at(mut cluster: Cluster, moment: Moment) {
    let (mut gateway, mut worker) = (cluster.gateway(), cluster.worker());
    cluster.warm_up(&gateway).await;
    for victim in Victim::of(&cluster.queue) {
        let trap = cluster.set_trap(moment, &worker);
        let first = begin(&cluster, &gateway, moment, victim);
        let trap = cluster.until_trapped(moment, trap);
        match victim {
            Victim::Zygote => worker.zygotes().iter().for_each(|pid| send(*pid, Signal::KILL)),
            Victim::Worker => {
                let below = worker.descendants();
                kill(&mut worker);
                until("no process of it is left", || !below.iter().any(|pid| alive(*pid)));
            }
            Victim::Gateway => kill(&mut gateway),
            Victim::Redis => {}
        }
        drop(trap);
        match victim {
            Victim::Zygote => {}
            Victim::Worker => worker = cluster.worker(),
            Victim::Gateway => gateway = cluster.gateway(),
            Victim::Redis => {
                cluster.restart_redis();
                until_found(&gateway).await;
            }
        }
        let job = submitted(&cluster, &gateway, victim, first.await.unwrap()).await;
        // A gateway that lives removes the model of a job that was surely not recorded.
        let may_be_abandoned = moment == Moment::BeforeRecord && victim != Victim::Zygote;
        let abandoned =
            if may_be_abandoned { cluster.objects_without(std::slice::from_ref(&job)) } else { 0 };
        ended_well(&cluster, &gateway, &[job], abandoned).await;
        cluster.forget();
    }
}

/// Who is killed. There is a child only during the conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Zygote,
    Worker,
    Gateway,
    Redis,
}

impl Victim {
    fn of(queue: &Queue) -> Vec<Victim> {
        let redis = matches!(queue, Queue::Redis(..)).then_some(Victim::Redis);
        [Victim::Zygote, Victim::Worker, Victim::Gateway].into_iter().chain(redis).collect()
    }
}

/// Submits a job, as a client that may be interrupted.
fn begin(
    cluster: &Cluster,
    gateway: &Gateway,
    moment: Moment,
    victim: Victim,
) -> tokio::task::JoinHandle<reqwest::Result<reqwest::Response>> {
    let mut request = gateway.submission(&cluster.with_webhook(FAST), TRIANGLE);
    // A key is reserved in the queue before the model is stored, and a trap in SQLite would stop that.
    if moment != Moment::BeforeRecord {
        request = request.header("idempotency-key", format!("{victim:?}"));
    }
    tokio::spawn(request.send())
}

/// The job that was accepted. Without a response, the client repeats its submission, whose job is the same one if it
/// was recorded.
async fn submitted(
    cluster: &Cluster,
    gateway: &Gateway,
    victim: Victim,
    first: reqwest::Result<reqwest::Response>,
) -> Value {
    let key = format!("{victim:?}");
    match first {
        Ok(answer) if answer.status() == 202 => answer.json().await.unwrap(),
        _ => submit_until_accepted(gateway, &cluster.with_webhook(FAST), TRIANGLE.into(), &key).await,
    }
}

async fn killed_during_the_conversion(mut cluster: Cluster) {
    let (mut gateway, mut worker) = (cluster.gateway(), cluster.worker());
    for victim in Victim::of(&cluster.queue) {
        let job = gateway.submit(SLOW, motion()).await;
        let child = worker.child().await;
        match victim {
            Victim::Zygote => worker.zygotes().iter().for_each(|pid| send(*pid, Signal::KILL)),
            Victim::Worker => {
                kill(&mut worker);
                until("its child is gone", || !alive(child));
                worker = cluster.worker();
            }
            Victim::Gateway => {
                kill(&mut gateway);
                gateway = cluster.gateway();
            }
            Victim::Redis => {
                cluster.restart_redis();
                until_found(&gateway).await;
            }
        }
        let job = gateway.succeeded(&job).await;
        // Only a lost worker costs an attempt.
        assert_eq!(job["attempts"], if victim == Victim::Worker { 2 } else { 1 }, "{victim:?}: {job}");
        assert!(!alive(child), "{victim:?}: {job}");
    }
}

/// Kills the child of a job `times` times, each time that it runs.
async fn kill_children(worker: &Gateway, times: usize) {
    let mut killed = 0;
    for _ in 0..times {
        let child = worker.another_child(killed).await;
        send(child, Signal::KILL);
        killed = child;
    }
}

async fn a_killed_child_costs_no_job(cluster: Cluster) {
    let (gateway, worker) = (cluster.gateway(), cluster.worker());
    // The engine tries again at once; a child that is killed again costs an attempt.
    for (times, attempts) in [(1, 1), (2, 2)] {
        let job = gateway.submit(SLOW, motion()).await;
        kill_children(&worker, times).await;
        let job = gateway.succeeded(&job).await;
        assert_eq!(job["attempts"], attempts, "{job}");
    }
    // After three attempts, the conversion is what kills it.
    let job = gateway.submit(SLOW, motion()).await;
    kill_children(&worker, 6).await;
    let job = gateway.ended(&job).await;
    assert_eq!((&job["state"], &job["error"]["code"]), (&"failed".into(), &"engine_crashed".into()), "{job}");
    assert_eq!(job["attempts"], 3, "{job}");
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
