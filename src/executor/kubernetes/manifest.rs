//! Builds the Kubernetes Job of a conversion.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use uuid::Uuid;

use super::settings::{COMPONENT, COMPONENT_LABEL, CONTAINER, JOB_LABEL, Settings, container_index};
use super::sizing::conversion_bytes;

/// Pods that are made for one Job after the first, if pods fail through no fault of the model.
const BACKOFF_LIMIT: i32 = 2;

/// The exit code of `run-job` for a model that cannot be converted.
pub const MODELS_FAULT: i32 = 1;

/// The exit code of a container that ran out of memory.
pub const KILLED: i32 = 137;

/// The condition of a pod that Kubernetes ends: by eviction, preemption, or because its node goes.
pub const DISRUPTED: &str = "DisruptionTarget";

const QUEUE_LABEL: &str = "kueue.x-k8s.io/queue-name";
const REQUEST_ANNOTATION: &str = "meshgate.dev/request-id";
const TRACE_ANNOTATION: &str = "meshgate.dev/traceparent";

/// The volume in which conversions run, if it is an `emptyDir`.
const WORK_VOLUME: &str = "work";

/// Settings of a server that a pod must not have: it has its own, or needs no access to Kubernetes.
const OWN_SETTINGS: [&str; 4] = ["WORKERS", "GUNICORN_WORKERS", "WORKER_MEMORY_LIMIT", "KUBERNETES_JOBS"];

/// The prefix that each setting may also have.
const SETTING_PREFIX: &str = "MESHGATE_";

/// The pod of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRequest {
    pub job: Uuid,
    /// Of the pod, in bytes. The conversion gets what the program does not need.
    pub memory_bytes: u64,
    /// In thousandths of a processor.
    pub cpu_millis: u32,
    /// In bytes.
    pub storage_bytes: u64,
    /// The W3C `traceparent` of the request that submitted the job.
    pub trace_parent: Option<String>,
    /// The ID of that request.
    pub request_id: String,
}

/// Builds the Kubernetes Job. It runs one pod at a time, and keeps to the level `restricted` of Pod Security, as far as
/// the template does not contradict it.
pub fn job(settings: &Settings, request: &PodRequest) -> Job {
    let labels = labels(settings, request.job);
    let annotations = annotations(request);
    let queue = settings.queue_name.as_ref().map(|name| (QUEUE_LABEL.to_owned(), name.clone()));
    Job {
        metadata: ObjectMeta {
            name: Some(settings.job_name(request.job)),
            namespace: Some(settings.namespace.clone()),
            labels: Some(labels.clone().into_iter().chain(queue).collect()),
            annotations: Some(annotations.clone()),
            owner_references: settings.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            parallelism: Some(1),
            completions: Some(1),
            backoff_limit: Some(BACKOFF_LIMIT),
            active_deadline_seconds: Some(settings.deadline.as_secs().max(1) as i64),
            ttl_seconds_after_finished: Some(
                i32::try_from(settings.ttl_after_finished.as_secs()).unwrap_or(i32::MAX),
            ),
            // A pod that is ending still writes; two at once would waste the memory of one.
            pod_replacement_policy: Some("Failed".to_owned()),
            pod_failure_policy: Some(PodFailurePolicy { rules: failure_rules() }),
            // Kueue starts the Job when it has room.
            suspend: settings.queue_name.as_ref().map(|_| true),
            template: template(settings, request, labels, annotations),
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// The first rule that fits applies. A disrupted pod may also have the exit code of one that was killed. Everything
/// else counts for [`BACKOFF_LIMIT`].
fn failure_rules() -> Vec<PodFailurePolicyRule> {
    let disrupted = PodFailurePolicyRule {
        action: "Ignore".to_owned(),
        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
            type_: DISRUPTED.to_owned(),
            status: "True".to_owned(),
        }]),
        on_exit_codes: None,
    };
    let hopeless = PodFailurePolicyRule {
        action: "FailJob".to_owned(),
        on_pod_conditions: None,
        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
            container_name: Some(CONTAINER.to_owned()),
            operator: "In".to_owned(),
            values: vec![MODELS_FAULT, KILLED],
        }),
    };
    vec![disrupted, hopeless]
}

fn labels(settings: &Settings, job: Uuid) -> BTreeMap<String, String> {
    let mut labels = settings.labels.clone();
    labels.insert(COMPONENT_LABEL.to_owned(), COMPONENT.to_owned());
    labels.insert(JOB_LABEL.to_owned(), job.to_string());
    labels
}

/// Annotations for people who look for the request in logs and traces.
fn annotations(request: &PodRequest) -> BTreeMap<String, String> {
    let trace = request.trace_parent.clone().map(|parent| (TRACE_ANNOTATION.to_owned(), parent));
    let request = (REQUEST_ANNOTATION.to_owned(), request.request_id.clone());
    trace.into_iter().chain([request]).collect()
}

fn template(
    settings: &Settings,
    request: &PodRequest,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
) -> PodTemplateSpec {
    let mut template = settings.template.clone();
    let metadata = template.metadata.get_or_insert_default();
    metadata.labels.get_or_insert_default().extend(labels);
    metadata.annotations.get_or_insert_default().extend(annotations);
    let spec = template.spec.get_or_insert_default();
    // A failure policy requires it. The Job makes new pods.
    spec.restart_policy = Some("Never".to_owned());
    // The conversion needs no token: a model that broke out of the sandbox would find one.
    spec.automount_service_account_token = Some(false);
    spec.enable_service_links = Some(false);
    restrict_pod(spec);
    for volume in spec.volumes.iter_mut().flatten() {
        fit_volume(volume, request.storage_bytes);
    }
    let index = container_index(spec.containers.iter().map(|container| container.name.as_str()));
    if let Some(container) = index.and_then(|index| spec.containers.get_mut(index)) {
        fit_container(container, request);
    }
    template
}

/// Sets what the level `restricted` of Pod Security requires. Users, groups and profiles of the template stay.
fn restrict_pod(spec: &mut PodSpec) {
    let context = spec.security_context.get_or_insert_default();
    context.run_as_non_root = Some(true);
    context.seccomp_profile.get_or_insert_with(default_seccomp);
    let first = spec.init_containers.iter_mut().flatten();
    for container in first.chain(&mut spec.containers) {
        let context = container.security_context.get_or_insert_default();
        context.allow_privilege_escalation = Some(false);
        context.capabilities = Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None });
        context.read_only_root_filesystem.get_or_insert(true);
    }
}

fn default_seccomp() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}

/// Gives the work folder the disk space of this job.
fn fit_volume(volume: &mut Volume, storage_bytes: u64) {
    if volume.name == WORK_VOLUME
        && let Some(folder) = &mut volume.empty_dir
    {
        folder.size_limit = Some(bytes(storage_bytes));
    }
}

/// Makes the container run this job within its resources.
fn fit_container(container: &mut Container, request: &PodRequest) {
    // The failure policy refers to it by this name.
    CONTAINER.clone_into(&mut container.name);
    container.args = Some(vec!["run-job".to_owned(), request.job.to_string()]);
    // `run-job` has no server to probe.
    container.startup_probe = None;
    container.liveness_probe = None;
    container.readiness_probe = None;
    let env = container.env.get_or_insert_default();
    env.retain(|variable| !is_own_setting(&variable.name));
    let limit = conversion_bytes(request.memory_bytes).to_string();
    for (name, value) in
        [("WORKERS", "1"), ("WORKER_MEMORY_LIMIT", limit.as_str()), ("KUBERNETES_JOBS", "off")]
    {
        env.push(EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None });
    }
    let resources = container.resources.get_or_insert_default();
    // Equal requests and limits, so that such pods are evicted last.
    let ResourceRequirements { requests, limits, .. } = resources;
    for quantities in [requests, limits] {
        quantities.get_or_insert_default().extend([
            ("memory".to_owned(), bytes(request.memory_bytes)),
            ("cpu".to_owned(), Quantity(format!("{}m", request.cpu_millis))),
            ("ephemeral-storage".to_owned(), bytes(request.storage_bytes)),
        ]);
    }
}

fn is_own_setting(name: &str) -> bool {
    OWN_SETTINGS.contains(&name.strip_prefix(SETTING_PREFIX).unwrap_or(name))
}

/// A quantity of bytes, in whole MiB if it can be.
fn bytes(count: u64) -> Quantity {
    let unit = 1 << 20;
    Quantity(if count.is_multiple_of(unit) { format!("{}Mi", count / unit) } else { count.to_string() })
}
