//! What follows from the state of a Job and its pods.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::samples::{container, ended, exited, job, pod, running, to_job, to_pod, unschedulable, waiting};
use crate::executor::kubernetes::outcome::{
    Observed, Obstacle, ObstacleKind, Outcome, is_over, is_pod_of, observe,
};

fn look(job: Value, statuses: &[Value]) -> Observed {
    let pods: Vec<Pod> = statuses.iter().map(|status| to_pod(pod("a", "u", status))).collect();
    observe(&to_job(job), &pods.iter().collect::<Vec<_>>(), None)
}

fn outcome(job: Value, statuses: &[Value]) -> Outcome {
    match look(job, statuses) {
        Observed::Ended(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn obstacle(job: Value, statuses: &[Value]) -> (ObstacleKind, String) {
    match look(job, statuses) {
        Observed::Pending { obstacle: Some(Obstacle { kind, why }), .. } => (kind, why),
        other => panic!("{other:?}"),
    }
}

/// 31 January 2026, 12:00.
fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(491_628)
}

#[test]
fn a_job_that_succeeded_is_complete_however_its_pods_look() {
    assert_eq!(
        outcome(ended("u", "Complete", "CompletionsReached", ""), &[exited(137, "Error")]),
        Outcome::Completed
    );
    // Kubernetes says this first, and the other when the pod is gone.
    assert_eq!(
        outcome(ended("u", "SuccessCriteriaMet", "CompletionsReached", ""), &[running()]),
        Outcome::Completed
    );
}

#[test]
fn the_exit_code_says_whose_fault_it_was() {
    let message = |code: i32| {
        format!(
            "Container meshgate for pod shop/a failed with exit code {code} matching FailJob rule at index 1"
        )
    };
    for condition in ["Failed", "FailureTarget"] {
        let failed = |code| ended("u", condition, "PodFailurePolicy", &message(code));
        assert_eq!(outcome(failed(1), &[]), Outcome::ModelsFault);
        assert_eq!(outcome(failed(137), &[]), Outcome::OutOfMemory);
    }
    let silent = ended("u", "Failed", "PodFailurePolicy", "");
    assert_eq!(outcome(silent, &[exited(137, "OOMKilled")]), Outcome::OutOfMemory);
}

#[test]
fn a_container_that_ran_out_of_memory_may_have_any_exit_code() {
    let failed = ended("u", "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit");
    assert_eq!(outcome(failed.clone(), &[exited(1, "OOMKilled")]), Outcome::OutOfMemory);
    // A pod that was evicted is killed as well.
    let mut evicted = exited(137, "Error");
    evicted["conditions"] =
        json!([{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]);
    assert!(matches!(outcome(failed, &[evicted]), Outcome::Failed(_)));
}

#[test]
fn the_deadline_is_an_outcome_of_its_own() {
    let late = ended("u", "Failed", "DeadlineExceeded", "Job was active longer than specified deadline");
    assert_eq!(outcome(late, &[exited(137, "Error")]), Outcome::Deadline);
}

#[test]
fn pods_that_failed_too_often_are_described() {
    let failed = |message| ended("u", "Failed", "BackoffLimitExceeded", message);
    let said = |statuses: &[Value]| match outcome(failed("Job has reached\nthe limit"), statuses) {
        Outcome::Failed(said) => said,
        other => panic!("{other:?}"),
    };
    assert_eq!(said(&[exited(3, "Error")]), "its pods failed; the last one ended with exit code 3 (Error)");
    assert_eq!(said(&[]), "its pods failed: Job has reached the limit");
    let evicted =
        json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on ephemeral-storage."});
    let expected = "its pods failed; the last one was evicted: The node was low on ephemeral-storage.";
    assert_eq!(said(&[evicted]), expected);
}

#[test]
fn a_job_without_an_end_is_pending_or_running() {
    let nothing_yet = json!({"phase": "Pending"});
    assert_eq!(look(job("u"), &[nothing_yet]), Observed::Pending { since: noon(), obstacle: None });
    let started = noon() + Duration::from_secs(9);
    assert_eq!(look(job("u"), &[running()]), Observed::Running { started });
    // The Job's condition follows a moment later.
    assert_eq!(look(job("u"), &[exited(0, "Completed")]), Observed::Running { started });
    assert_eq!(
        look(job("u"), &[waiting("ContainerCreating", "")]),
        Observed::Pending { since: noon(), obstacle: None }
    );
}

#[test]
fn a_deleted_job_is_over_unless_it_had_ended() {
    let mut deleted = job("u");
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-31T13:00:00Z");
    assert_eq!(look(deleted.clone(), &[running()]), Observed::Deleting);
    assert!(is_over(&to_job(deleted)) && !is_over(&to_job(job("u"))));
    let mut complete = ended("u", "Complete", "", "");
    complete["metadata"]["deletionTimestamp"] = json!("2026-01-31T13:00:00Z");
    assert_eq!(outcome(complete, &[]), Outcome::Completed);
}

#[test]
fn a_pod_that_cannot_be_placed_says_why() {
    let (kind, why) = obstacle(job("u"), &[unschedulable()]);
    assert_eq!(kind, ObstacleKind::Capacity);
    assert_eq!(why, "no node has room for the pod: 0/3 nodes are available: 3 Insufficient memory.");
    let (kind, why) = obstacle(job("u"), &[]);
    assert_eq!(kind, ObstacleKind::Capacity);
    assert!(why.contains("kubectl describe job meshgate-"), "{why}");
    let refusal = Some("pods \"a\" is forbidden: exceeded quota: small");
    let Observed::Pending { obstacle: Some(refused), .. } = observe(&to_job(job("u")), &[], refusal) else {
        panic!()
    };
    assert_eq!(refused.why, "no pod can be made: pods \"a\" is forbidden: exceeded quota: small");
    let mut suspended = job("u");
    suspended["spec"]["suspend"] = json!(true);
    let (kind, why) = obstacle(suspended, &[]);
    assert_eq!(kind, ObstacleKind::Capacity);
    assert!(why.contains("Kueue"), "{why}");
}

#[test]
fn an_image_that_cannot_be_pulled_says_what_to_do() {
    let first = obstacle(job("u"), &[waiting("ErrImagePull", "rpc error: not found")]);
    let (kind, why) = obstacle(job("u"), &[waiting("ImagePullBackOff", "Back-off pulling image")]);
    assert_eq!(kind, ObstacleKind::Image);
    assert!(why.contains("\"meshgate:1.2\"") && why.contains("pull secret"), "{why}");
    assert_eq!(first.1, why, "the text stays the same from try to try");
    let (kind, why) = obstacle(job("u"), &[waiting("CreateContainerConfigError", "secret \"s3\" not found")]);
    assert_eq!(kind, ObstacleKind::Image);
    assert!(why.contains("secret \"s3\" not found"), "{why}");
    let mut first = container(&json!({}));
    first["initContainerStatuses"] = waiting("InvalidImageName", "")["containerStatuses"].clone();
    assert_eq!(obstacle(job("u"), &[first]).0, ObstacleKind::Image);
}

#[test]
fn the_youngest_pod_that_is_not_ending_counts() {
    let mut failed = pod("a", "u", &exited(3, "Error"));
    failed["status"]["phase"] = json!("Failed");
    failed["metadata"]["creationTimestamp"] = json!("2026-01-31T12:30:00Z");
    let pods = [to_pod(failed), to_pod(pod("b", "u", &unschedulable()))];
    let seen = observe(&to_job(job("u")), &[&pods[0], &pods[1]], None);
    assert!(matches!(seen, Observed::Pending { obstacle: Some(_), .. }), "{seen:?}");
}

#[test]
fn pods_of_an_earlier_job_are_not_its_own() {
    let pod = to_pod(pod("a", "u", &running()));
    assert!(is_pod_of(&pod, &to_job(job("u"))) && !is_pod_of(&pod, &to_job(job("other"))));
}
