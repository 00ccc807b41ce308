//! Creating and deleting Jobs: what the API server may answer, and what is made of it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::samples::{JOB, ended, job, pod, request, settings};
use super::server::{Answer, Exchange, JOBS, expect, refusal, serve};
use crate::executor::kubernetes::{Created, Error, Trouble};

/// How the API server behaves.
#[derive(Debug, Clone, Copy)]
enum Scenario {
    New,
    /// The Job is created, and the answer gets lost.
    LostAnswer,
    /// A quota changes at the same time.
    Conflict,
    Exists,
    ExistsAndHasEnded,
    ExistsAndIsDeleted,
    /// It is gone before it can be looked at.
    Vanishes,
    /// Another process makes it anew while it is deleted.
    MadeAnew,
    NeverGone,
    Foreign,
    NoRole,
    NoNamespace,
    NamespaceEnds,
    QuotaUsedUp,
    NotValid,
    NoToken,
    Overloaded,
    Failing,
    Away,
    Silent,
}

fn path() -> String {
    format!("{JOBS}/{}", settings().job_name(JOB))
}

fn post(answer: Answer) -> Exchange {
    Exchange { body: "\"run-job\"", ..expect("POST", format!("{JOBS}?"), answer) }
}

fn get(answer: Answer) -> Exchange {
    expect("GET", path(), answer)
}

/// The deletion of the Job that was found, and of no other.
fn remove(answer: Answer) -> Exchange {
    let body = r#""propagationPolicy":"Background","preconditions":{"uid":"u"}"#;
    Exchange { body, ..expect("DELETE", path(), answer) }
}

fn found(job: Value) -> Answer {
    Answer::Json(200, job)
}

fn created() -> Answer {
    Answer::Json(201, job("u"))
}

fn exists() -> Answer {
    refusal(409, "AlreadyExists", "jobs.batch \"meshgate-1\" already exists")
}

fn deleted() -> Answer {
    Answer::Json(200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
}

fn leaving() -> Value {
    let mut job = job("u");
    job["metadata"]["deletionTimestamp"] = json!("2026-01-31T13:00:00Z");
    job
}

impl Scenario {
    fn exchanges(self) -> Vec<Exchange> {
        let failed = || ended("u", "Failed", "PodFailurePolicy", "failed with exit code 137");
        match self {
            Scenario::New => vec![post(created())],
            Scenario::LostAnswer => vec![post(Answer::ConnectionLost), post(exists()), get(found(job("u")))],
            Scenario::Conflict => {
                vec![post(refusal(409, "Conflict", "the object has been modified")), post(created())]
            }
            Scenario::Exists => vec![post(exists()), get(found(job("u")))],
            Scenario::ExistsAndHasEnded => {
                vec![post(exists()), get(found(failed())), remove(deleted()), post(created())]
            }
            Scenario::ExistsAndIsDeleted => vec![
                post(exists()),
                get(found(leaving())),
                remove(deleted()),
                post(exists()),
                get(found(leaving())),
                remove(deleted()),
                post(created()),
            ],
            Scenario::Vanishes => {
                vec![post(exists()), get(refusal(404, "NotFound", "not found")), post(created())]
            }
            Scenario::MadeAnew => vec![
                post(exists()),
                get(found(failed())),
                remove(refusal(409, "Conflict", "the UID in the precondition does not match")),
                post(exists()),
                get(found(job("other"))),
            ],
            Scenario::NeverGone => {
                let round = || [post(exists()), get(found(leaving())), remove(deleted())];
                (0..6).flat_map(|_| round()).collect()
            }
            Scenario::Foreign => {
                let mut foreign = job("u");
                foreign["metadata"]["labels"] = json!({});
                vec![post(exists()), get(found(foreign))]
            }
            Scenario::NoRole => vec![post(refusal(
                403,
                "Forbidden",
                "jobs.batch is forbidden: User \"worker\" cannot create resource \"jobs\" in API group \"batch\"",
            ))],
            Scenario::NoNamespace => vec![post(Answer::Json(
                404,
                json!({
                    "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound",
                    "message": "namespaces \"shop\" not found", "details": {"name": "shop", "kind": "namespaces"},
                }),
            ))],
            Scenario::NamespaceEnds => vec![post(refusal(
                403,
                "Forbidden",
                "unable to create new content in namespace shop because it is being terminated",
            ))],
            Scenario::QuotaUsedUp => {
                vec![post(refusal(403, "Forbidden", "exceeded quota: few, requested: count/jobs.batch=1"))]
            }
            Scenario::NotValid => {
                vec![post(refusal(
                    422,
                    "Invalid",
                    "Job is invalid: spec.template.spec.containers: Required value",
                ))]
            }
            Scenario::NoToken => vec![post(refusal(401, "Unauthorized", "Unauthorized"))],
            Scenario::Overloaded => vec![post(Answer::Text(429, "Too many requests", 7)), post(created())],
            Scenario::Failing => {
                vec![post(refusal(500, "InternalError", "etcdserver: leader changed")), post(created())]
            }
            Scenario::Away => (0..5).map(|_| post(Answer::ConnectionLost)).collect(),
            Scenario::Silent => (0..5).map(|_| post(Answer::Silence)).collect(),
        }
    }
}

/// Creates the Job; returns what came of it, and how long it took by a clock that only waits move.
async fn create(scenario: Scenario) -> (Result<Created, Error>, Duration) {
    let (kubernetes, served) = serve(scenario.exchanges());
    let began = Instant::now();
    let result = kubernetes.create(&request()).await;
    let took = began.elapsed();
    let unfinished = kubernetes.unfinished().len();
    assert_eq!(unfinished, usize::from(result.is_ok()), "{scenario:?}");
    drop(kubernetes);
    served.await.unwrap_or_else(|error| panic!("{scenario:?}: {error}"));
    (result, took)
}

#[tokio::test(start_paused = true)]
async fn a_job_is_created_or_taken_up() {
    for (scenario, expected) in [
        (Scenario::New, Created::New),
        (Scenario::LostAnswer, Created::Existing),
        (Scenario::Conflict, Created::New),
        (Scenario::Exists, Created::Existing),
        (Scenario::ExistsAndHasEnded, Created::New),
        (Scenario::ExistsAndIsDeleted, Created::New),
        (Scenario::Vanishes, Created::New),
        (Scenario::MadeAnew, Created::Existing),
        (Scenario::Failing, Created::New),
    ] {
        assert_eq!(create(scenario).await.0, Ok(expected), "{scenario:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_says_what_to_do_and_whether_to_try_again() {
    for (scenario, trouble, is_lasting, said) in [
        (Scenario::NeverGone, Trouble::Deleting, false, "still being deleted"),
        (Scenario::Foreign, Trouble::AlreadyExists, true, "delete it, or set another prefix"),
        (Scenario::NoRole, Trouble::Forbidden, true, "bind this service account to a Role with create jobs"),
        (Scenario::NoNamespace, Trouble::NotFound, true, "there is no namespace shop; set it to"),
        (Scenario::NamespaceEnds, Trouble::Forbidden, true, "because it is being terminated"),
        (
            Scenario::QuotaUsedUp,
            Trouble::Quota,
            false,
            "the quota of the namespace shop is used up; raise it",
        ),
        (Scenario::NotValid, Trouble::Invalid, true, "Required value; check the pod template"),
        (Scenario::NoToken, Trouble::Unauthorized, false, "does not accept the token"),
        (Scenario::Away, Trouble::Unreachable, false, "cannot be reached: connection reset"),
        (Scenario::Silent, Trouble::Unreachable, false, "does not answer within 10 seconds"),
    ] {
        let error = create(scenario).await.0.unwrap_err();
        assert_eq!((error.trouble, error.is_lasting()), (trouble, is_lasting), "{scenario:?}");
        assert!(error.detail.contains(said), "{scenario:?}: {error}");
        assert_eq!(error.is_no_capacity(), trouble == Trouble::Quota);
    }
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_server_is_asked_again_when_it_says() {
    let (result, took) = create(Scenario::Overloaded).await;
    assert_eq!(result, Ok(Created::New));
    assert!((7..9).contains(&took.as_secs()), "{took:?}");
    // Without that, pauses are short at first.
    let (_, took) = create(Scenario::Failing).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_counts_as_unfinished_while_it_is_being_created() {
    let (kubernetes, _served) = serve(vec![post(Answer::Silence)]);
    assert!(kubernetes.has_room());
    let creating = tokio::spawn({
        let kubernetes = kubernetes.clone();
        async move { kubernetes.create(&request()).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(kubernetes.unfinished(), [JOB]);
    // Nobody waits for it any more.
    creating.abort();
    let _ = creating.await;
    assert!(kubernetes.unfinished().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_is_deleted_with_its_pods_and_may_be_gone() {
    let foreground = |answer| {
        let body = r#""propagationPolicy":"Foreground""#;
        Exchange { body, ..expect("DELETE", path(), answer) }
    };
    for exchanges in [
        vec![foreground(found(leaving()))],
        vec![foreground(refusal(404, "NotFound", "not found"))],
        vec![foreground(Answer::ConnectionLost), foreground(deleted())],
    ] {
        let (kubernetes, served) = serve(exchanges);
        assert_eq!(kubernetes.delete(JOB).await, Ok(()));
        drop(kubernetes);
        served.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_belong_to_what_controls_the_pod_of_this_process() {
    const SETS: &str = "/apis/apps/v1/namespaces/shop/replicasets/shop-1";
    let owned = |kind: &str, name: &str| {
        let owner =
            json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": name, "controller": true});
        let mut pod = pod("me", "u", &json!({}));
        pod["metadata"]["ownerReferences"] = json!([owner]);
        Answer::Json(200, pod)
    };
    let me = |answer| expect("GET", "/api/v1/namespaces/shop/pods/me", answer);
    let by_set = || me(owned("ReplicaSet", "shop-1"));
    let set = json!({"metadata": {"name": "shop-1", "ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop", "uid": "d", "controller": true},
    ]}});
    let no_role = || refusal(403, "Forbidden", "User \"u\" cannot get resource \"replicasets\"");
    for (exchanges, kind) in [
        (vec![by_set(), expect("GET", SETS, Answer::Json(200, set))], Some("Deployment")),
        (vec![by_set(), expect("GET", SETS, no_role())], Some("ReplicaSet")),
        (vec![me(owned("StatefulSet", "shop"))], Some("StatefulSet")),
        (vec![me(Answer::Json(200, json!({"metadata": {"name": "me"}})))], None),
    ] {
        let (kubernetes, served) = serve(exchanges);
        let kubernetes =
            kubernetes.owned_by_controller_of("me").await.unwrap_or_else(|error| panic!("{error}"));
        let found = kubernetes.settings().owner.clone();
        assert_eq!(found.as_ref().map(|owner| owner.kind.as_str()), kind);
        // It neither adopts Jobs nor waits for them.
        assert!(found.is_none_or(|owner| owner.controller.is_none() && owner.block_owner_deletion.is_none()));
        drop(kubernetes);
        served.await.unwrap();
    }
}
