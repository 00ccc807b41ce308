//! The Job that is made for a conversion.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

use super::samples::{GIB, JOB, request, settings};
use crate::executor::kubernetes::manifest::job;
use crate::executor::kubernetes::sizing::PROGRAM;
use crate::executor::kubernetes::{PodRequest, Settings};

fn manifest(settings: &Settings, request: &PodRequest) -> Value {
    serde_json::to_value(job(settings, request)).unwrap()
}

fn container(manifest: &Value) -> &Value {
    &manifest["spec"]["template"]["spec"]["containers"][1]
}

#[test]
fn the_job_ends_in_time_and_says_whose_fault_it_was() {
    let manifest = manifest(&settings(), &request());
    assert_eq!((&manifest["apiVersion"], &manifest["kind"]), (&json!("batch/v1"), &json!("Job")));
    let spec = &manifest["spec"];
    for (name, value) in [
        ("parallelism", json!(1)),
        ("completions", json!(1)),
        ("backoffLimit", json!(2)),
        ("activeDeadlineSeconds", json!(3600)),
        ("ttlSecondsAfterFinished", json!(600)),
        ("podReplacementPolicy", json!("Failed")),
        ("suspend", Value::Null),
    ] {
        assert_eq!(spec[name], value, "{name}");
    }
    let rules = json!([
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": "meshgate", "operator": "In", "values": [1, 137]}},
    ]);
    assert_eq!(spec["podFailurePolicy"]["rules"], rules);
}

#[test]
fn jobs_and_pods_have_names_labels_and_an_owner() {
    let owner = OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: "shop".to_owned(),
        uid: "u".to_owned(),
        ..OwnerReference::default()
    };
    let manifest = manifest(&Settings { owner: Some(owner), ..settings() }, &request());
    let metadata = &manifest["metadata"];
    assert_eq!(metadata["name"], settings().job_name(JOB));
    assert_eq!(metadata["namespace"], "shop");
    assert_eq!(metadata["ownerReferences"][0]["kind"], "Deployment");
    let labels = json!({
        "app.kubernetes.io/name": "meshgate", "app.kubernetes.io/instance": "shop",
        "app.kubernetes.io/component": "job", "meshgate.dev/job": JOB,
    });
    assert_eq!(metadata["labels"], labels);
    assert_eq!(metadata["annotations"]["meshgate.dev/request-id"], "req-1");
    let pod = &manifest["spec"]["template"]["metadata"];
    for (name, value) in labels.as_object().unwrap() {
        assert_eq!(&pod["labels"][name], value);
    }
    assert_eq!((&pod["labels"]["team"], &pod["annotations"]["a"]), (&json!("shop"), &json!("b")));
    assert_eq!(pod["annotations"]["meshgate.dev/traceparent"], request().trace_parent.unwrap());
}

#[test]
fn kueue_starts_a_job_of_its_queue() {
    let settings = Settings { queue_name: Some("heavy".to_owned()), ..settings() };
    let manifest = manifest(&settings, &request());
    assert_eq!(manifest["spec"]["suspend"], true);
    assert_eq!(manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"], "heavy");
}

#[test]
fn the_pod_is_restricted_and_has_no_token() {
    let manifest = manifest(&settings(), &request());
    let spec = &manifest["spec"]["template"]["spec"];
    assert_eq!(spec["restartPolicy"], "Never");
    assert_eq!(
        (&spec["automountServiceAccountToken"], &spec["enableServiceLinks"]),
        (&json!(false), &json!(false))
    );
    let context = json!({
        "runAsNonRoot": true, "runAsUser": 10001, "fsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"},
    });
    assert_eq!(spec["securityContext"], context);
    let containers =
        spec["containers"].as_array().unwrap().iter().chain(spec["initContainers"].as_array().unwrap());
    for container in containers {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false, "{container}");
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(context["readOnlyRootFilesystem"], true);
    }
    // The rest of the template stays.
    assert_eq!(spec["nodeSelector"]["pool"], "heavy");
    assert_eq!((&spec["runtimeClassName"], &spec["priorityClassName"]), (&json!("gvisor"), &json!("low")));
    assert_eq!(spec["tolerations"][0]["key"], "heavy");
    assert_eq!(spec["serviceAccountName"], "meshgate-job");
}

#[test]
fn profiles_of_the_template_stay() {
    let mut settings = settings();
    let spec = settings.template.spec.as_mut().unwrap();
    let profile = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "strict.json"}});
    spec.security_context = serde_json::from_value(profile).unwrap();
    spec.containers[1].security_context =
        serde_json::from_value(json!({"readOnlyRootFilesystem": false})).unwrap();
    let manifest = manifest(&settings, &request());
    let spec = &manifest["spec"]["template"]["spec"];
    assert_eq!(spec["securityContext"]["seccompProfile"]["localhostProfile"], "strict.json");
    assert_eq!(container(&manifest)["securityContext"]["readOnlyRootFilesystem"], false);
}

#[test]
fn the_container_runs_the_job_within_its_resources() {
    let manifest = manifest(&settings(), &request());
    let container = container(&manifest);
    assert_eq!(container["args"], json!(["run-job", JOB]));
    assert_eq!(container["livenessProbe"], Value::Null);
    let own = json!({"memory": "4096Mi", "cpu": "1500m", "ephemeral-storage": "3072Mi"});
    assert_eq!(container["resources"]["requests"], own);
    let limits = &container["resources"]["limits"];
    for (name, value) in own.as_object().unwrap() {
        assert_eq!(&limits[name], value);
    }
    assert_eq!(limits["example.com/gpu"], "1", "other resources stay");
    let variable = |name: &str| {
        let found: Vec<&Value> =
            container["env"].as_array().unwrap().iter().filter(|variable| variable["name"] == name).collect();
        assert!(found.len() <= 1, "{found:?}");
        found.first().map(|variable| variable["value"].as_str().unwrap().to_owned())
    };
    assert_eq!(variable("WORKERS").as_deref(), Some("1"));
    assert_eq!(variable("WORKER_MEMORY_LIMIT"), Some((4 * GIB - PROGRAM).to_string()));
    assert_eq!(variable("MESHGATE_WORKER_MEMORY_LIMIT"), None);
    assert_eq!(variable("KUBERNETES_JOBS").as_deref(), Some("off"));
    assert_eq!(variable("JOBS_REDIS_URL").as_deref(), Some("redis://jobs/0"));
    let volumes = &manifest["spec"]["template"]["spec"]["volumes"];
    assert_eq!(volumes[0]["emptyDir"]["sizeLimit"], "3072Mi");
    assert_eq!(volumes[1]["emptyDir"]["sizeLimit"], "64Mi");
}

#[test]
fn the_only_container_may_have_any_name() {
    let mut settings = settings();
    let containers = &mut settings.template.spec.as_mut().unwrap().containers;
    containers.truncate(1);
    let manifest = manifest(&settings, &request());
    let container = &manifest["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["name"], &container["image"]), (&json!("meshgate"), &json!("proxy:1")));
    assert_eq!(container["args"][0], "run-job");
}
