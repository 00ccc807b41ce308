//! Settings and objects as they are in a cluster.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::executor::kubernetes::{PodRequest, Settings, read_template};

pub const JOB: Uuid = Uuid::from_u128(7);
pub const GIB: u64 = 1 << 30;

/// As the chart may write it: made for servers, with a second container and a volume.
const TEMPLATE: &str = r#"{
    "metadata": {"labels": {"team": "shop"}, "annotations": {"a": "b"}},
    "spec": {
        "serviceAccountName": "meshgate-job", "automountServiceAccountToken": true, "restartPolicy": "Always",
        "nodeSelector": {"pool": "heavy"}, "runtimeClassName": "gvisor", "priorityClassName": "low",
        "tolerations": [{"key": "heavy", "operator": "Exists"}],
        "securityContext": {"runAsUser": 10001, "fsGroup": 10001},
        "initContainers": [{"name": "wait", "image": "wait:1", "securityContext": {"privileged": false}}],
        "containers": [
            {"name": "proxy", "image": "proxy:1"},
            {
                "name": "meshgate", "image": "meshgate:1.2", "args": ["worker"],
                "env": [
                    {"name": "WORKERS", "value": "4"}, {"name": "MESHGATE_WORKER_MEMORY_LIMIT", "value": "1G"},
                    {"name": "KUBERNETES_JOBS", "value": "auto"}, {"name": "JOBS_REDIS_URL", "value": "redis://jobs/0"}
                ],
                "livenessProbe": {"httpGet": {"path": "/livez", "port": 9464}},
                "resources": {"limits": {"memory": "1Gi", "example.com/gpu": "1"}}
            }
        ],
        "volumes": [
            {"name": "work", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}
        ]
    }
}"#;

pub fn settings() -> Settings {
    let labels = [("app.kubernetes.io/name", "meshgate"), ("app.kubernetes.io/instance", "shop")];
    Settings {
        namespace: "shop".to_owned(),
        prefix: "meshgate".to_owned(),
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        template: read_template(TEMPLATE).unwrap(),
        owner: None,
        deadline: Duration::from_hours(1),
        ttl_after_finished: Duration::from_mins(10),
        queue_name: None,
        pending_timeout: Duration::from_mins(10),
        max_in_flight: 2,
    }
}

pub fn request() -> PodRequest {
    PodRequest {
        job: JOB,
        memory_bytes: 4 * GIB,
        cpu_millis: 1500,
        storage_bytes: 3 * GIB,
        trace_parent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        request_id: "req-1".to_owned(),
    }
}

/// The Job of [`JOB`], unfinished.
pub fn job(uid: &str) -> Value {
    json!({
        "metadata": {
            "name": settings().job_name(JOB), "namespace": "shop", "uid": uid, "resourceVersion": "5",
            "creationTimestamp": "2026-01-31T12:00:00Z", "labels": {"meshgate.dev/job": JOB},
        },
        "spec": {"template": {}},
        "status": {"active": 1},
    })
}

/// The same with a condition.
pub fn ended(uid: &str, kind: &str, reason: &str, message: &str) -> Value {
    let mut job = job(uid);
    job["status"] = json!({
        "conditions": [{"type": kind, "status": "True", "reason": reason, "message": message}],
    });
    job
}

/// A pod of the Job with this UID.
pub fn pod(name: &str, uid: &str, status: &Value) -> Value {
    let owner = json!({
        "apiVersion": "batch/v1", "kind": "Job", "name": "any", "uid": uid, "controller": true,
    });
    json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid of {name}"), "resourceVersion": "6",
            "creationTimestamp": "2026-01-31T12:00:01Z", "labels": {"meshgate.dev/job": JOB},
            "ownerReferences": [owner],
        },
        "status": status,
    })
}

/// The status of a pod whose container is in this state.
pub fn container(state: &Value) -> Value {
    let image = "meshgate:1.2";
    json!({"containerStatuses": [{
        "name": "meshgate", "image": image, "imageID": "", "ready": false, "restartCount": 0, "state": state,
    }]})
}

pub fn running() -> Value {
    container(&json!({"running": {"startedAt": "2026-01-31T12:00:09Z"}}))
}

pub fn waiting(reason: &str, message: &str) -> Value {
    container(&json!({"waiting": {"reason": reason, "message": message}}))
}

pub fn exited(code: i32, reason: &str) -> Value {
    container(
        &json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": "2026-01-31T12:00:09Z"}}),
    )
}

pub fn unschedulable() -> Value {
    json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient memory.",
    }]})
}

pub fn to_job(value: Value) -> Job {
    serde_json::from_value(value).unwrap()
}

pub fn to_pod(value: Value) -> Pod {
    serde_json::from_value(value).unwrap()
}
