//! Following Jobs through everything that a watch may do.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, Step};
use super::samples::{JOB, ended, job, pod, request, running, unschedulable, waiting};
use crate::executor::kubernetes::{Created, Outcome, Phase};

fn complete() -> Value {
    ended("u", "Complete", "CompletionsReached", "")
}

fn runs() -> Value {
    pod("a", "u", &running())
}

/// A cluster with a Job that runs, and a process that knows it.
async fn with_running_job() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.set("jobs", vec![job("u")]);
    cluster.set("pods", vec![runs()]);
    assert!(matches!(cluster.phase().await, Phase::Running { .. }));
    cluster
}

#[tokio::test(start_paused = true)]
async fn a_job_is_followed_from_its_creation_to_its_end() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.kubernetes.create(&request()).await, Ok(Created::New));
    assert_eq!(cluster.kubernetes.unfinished(), [JOB], "before the watch has seen it");
    cluster.step("jobs", Step::Added(job("u"))).await;
    assert!(matches!(cluster.phase().await, Phase::Pending { .. }));
    cluster.step("pods", Step::Added(pod("a", "u", &waiting("ContainerCreating", "")))).await;
    cluster.step("pods", Step::Modified(runs())).await;
    assert!(matches!(cluster.phase().await, Phase::Running { .. }));
    assert_eq!(cluster.kubernetes.states().running, 1);
    cluster.step("jobs", Step::Modified(complete())).await;
    assert_eq!(cluster.phase().await, Phase::Ended(Outcome::Completed));
    assert!(cluster.kubernetes.unfinished().is_empty());
    cluster.step("jobs", Step::Deleted(complete())).await;
    assert!(cluster.is_quiet().await);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_process_learns_what_has_happened() {
    let mut cluster = Cluster::new();
    cluster.set("jobs", vec![ended("u", "Failed", "PodFailurePolicy", "failed with exit code 137 matching")]);
    assert_eq!(cluster.phase().await, Phase::Ended(Outcome::OutOfMemory));
    assert!(cluster.is_quiet().await);
}

#[tokio::test(start_paused = true)]
async fn doubled_events_change_nothing() {
    let mut cluster = with_running_job().await;
    for _ in 0..3 {
        cluster.step("jobs", Step::Modified(job("u"))).await;
        cluster.step("pods", Step::Modified(runs())).await;
    }
    assert!(cluster.is_quiet().await);
    for _ in 0..3 {
        cluster.step("jobs", Step::Modified(complete())).await;
    }
    assert_eq!(cluster.phase().await, Phase::Ended(Outcome::Completed));
    // An old event comes late.
    cluster.step("jobs", Step::Modified(job("u"))).await;
    assert!(cluster.is_quiet().await);
}

#[tokio::test(start_paused = true)]
async fn an_expired_watch_begins_anew_with_a_list() {
    let mut cluster = with_running_job().await;
    let lists = cluster.lists();
    cluster.set("jobs", vec![complete()]);
    cluster.step("jobs", Step::Expired).await;
    assert_eq!(cluster.phase().await, Phase::Ended(Outcome::Completed));
    assert_eq!(cluster.lists(), lists + 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_whose_connection_ends_goes_on_without_a_list() {
    let mut cluster = with_running_job().await;
    let lists = cluster.lists();
    cluster.step("jobs", Step::Cut).await;
    cluster.step("jobs", Step::Modified(complete())).await;
    assert_eq!(cluster.phase().await, Phase::Ended(Outcome::Completed));
    assert_eq!(cluster.lists(), lists);
}

#[tokio::test(start_paused = true)]
async fn a_missed_deletion_shows_in_the_next_list() {
    let mut cluster = with_running_job().await;
    cluster.set("jobs", Vec::new());
    cluster.step("jobs", Step::Expired).await;
    assert_eq!(cluster.phase().await, Phase::Ended(Outcome::Deleted));
    assert!(cluster.kubernetes.unfinished().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_made_anew_meanwhile_was_not_deleted() {
    let mut cluster = with_running_job().await;
    cluster.set("jobs", vec![job("other")]);
    cluster.step("jobs", Step::Expired).await;
    // The pod that runs belongs to the earlier Job.
    assert!(matches!(cluster.phase().await, Phase::Pending { .. }));
    assert_eq!(cluster.kubernetes.unfinished(), [JOB]);
}

#[tokio::test(start_paused = true)]
async fn a_job_deleted_by_hand_has_ended() {
    let mut cluster = with_running_job().await;
    cluster.step("jobs", Step::Deleted(job("u"))).await;
    assert_eq!(cluster.phase().await, Phase::Ended(Outcome::Deleted));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_went_before_it_was_seen_has_ended() {
    let mut cluster = Cluster::new();
    assert!(cluster.is_quiet().await);
    assert_eq!(cluster.kubernetes.create(&request()).await, Ok(Created::New));
    sleep(Duration::from_secs(1)).await;
    cluster.step("jobs", Step::Expired).await;
    assert_eq!(cluster.phase().await, Phase::Ended(Outcome::Deleted));
    assert!(cluster.kubernetes.unfinished().is_empty());
}

#[tokio::test(start_paused = true)]
async fn while_the_server_is_away_the_last_known_state_stays() {
    let mut cluster = with_running_job().await;
    cluster.fail(Some(503));
    cluster.step("jobs", Step::Cut).await;
    cluster.step("pods", Step::Expired).await;
    assert!(cluster.is_quiet().await);
    assert_eq!(cluster.kubernetes.unfinished(), [JOB]);
    assert_eq!(cluster.kubernetes.states().running, 1);
    cluster.fail(None);
    let back = Instant::now();
    cluster.step("jobs", Step::Modified(complete())).await;
    assert_eq!(cluster.phase().await, Phase::Ended(Outcome::Completed));
    assert!(back.elapsed() < Duration::from_secs(10), "pauses do not grow without end: {:?}", back.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_job_for_which_there_is_no_room_ends_after_a_while() {
    let mut cluster = Cluster::new();
    // The clock of the API server is years ahead.
    let mut skewed = job("u");
    skewed["metadata"]["creationTimestamp"] = json!("2099-01-01T00:00:00Z");
    cluster.set("jobs", vec![skewed]);
    cluster.set("pods", vec![pod("a", "u", &unschedulable())]);
    let Phase::Pending { why, .. } = cluster.phase().await else { panic!("it cannot run") };
    assert!(why.unwrap().contains("Insufficient memory"));
    let began = Instant::now();
    let end = cluster.phase().await;
    assert!(
        matches!(&end, Phase::Ended(Outcome::NoCapacity(why)) if why.contains("Insufficient memory")),
        "{end:?}"
    );
    assert!((595..610).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_allows_no_pod_is_named() {
    let mut cluster = Cluster::new();
    let event = |message: &str, at: &str| {
        json!({
            "metadata": {"name": at}, "involvedObject": {}, "reason": "FailedCreate", "message": message,
            "lastTimestamp": at,
        })
    };
    let new = event("pods \"a\" is forbidden: exceeded quota: none", "2026-01-31T12:00:02Z");
    let old = event("something else", "2026-01-31T12:00:01Z");
    cluster.set("events", vec![new, old]);
    cluster.set("jobs", vec![job("u")]);
    assert!(matches!(cluster.phase().await, Phase::Pending { why: None, .. }), "a pod may still come");
    let Phase::Pending { why: Some(first), .. } = cluster.phase().await else { panic!("it has no pod") };
    assert!(first.contains("kubectl describe job"), "{first}");
    let Phase::Pending { why: Some(then), .. } = cluster.phase().await else { panic!("it has no pod") };
    assert!(then.contains("exceeded quota: none"), "{then}");
    let end = cluster.phase().await;
    assert!(matches!(&end, Phase::Ended(Outcome::NoCapacity(why)) if *why == then), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_pulled_ends_the_job_after_a_minute() {
    let mut cluster = Cluster::new();
    cluster.set("jobs", vec![job("u")]);
    cluster.set("pods", vec![pod("a", "u", &waiting("ErrImagePull", "not found"))]);
    assert!(matches!(cluster.phase().await, Phase::Pending { why: Some(_), .. }));
    let began = Instant::now();
    let end = cluster.phase().await;
    assert!(matches!(&end, Phase::Ended(Outcome::Image(why)) if why.contains("pull secret")), "{end:?}");
    assert!((55..65).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}
