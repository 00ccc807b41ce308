"""Heavy conversions as Kubernetes Jobs: what the chart gives to workers and gateways for them."""

import json

import pytest
from kit import KUBERNETES, check_schema, objects, pods, sets, settings

JOBS = ["mode=distributed", "storage.url=s3://b", "kubernetesJobs.mode=auto"]
WORKER = "m-meshgate-worker"


def jobs(*values: str, **options) -> dict[str, dict]:
    return objects(*sets(*JOBS, *values), **options)


def template(found: dict[str, dict]) -> dict:
    """The template of pods that workers read."""
    return json.loads(found["ConfigMap/m-meshgate-job-template"]["data"]["pod-template.json"])


def test_they_are_off_unless_asked_for():
    for values in ([], ["kubernetesJobs.mode=off"], ["kubernetesJobs.mode=false"]):
        found = objects(*sets(*JOBS[:2], *values))
        kinds = {name.split("/")[0] for name in found}
        assert not {"Role", "RoleBinding", "ConfigMap"} & kinds, values
        assert not [name for name in settings(found, WORKER) if name.startswith("KUBERNETES_")], values
        assert pods(found)[f"Deployment/{WORKER}"]["automountServiceAccountToken"] is False, values


def test_workers_and_gateways_get_the_settings():
    found = jobs(
        "kubernetesJobs.minSize=32Mi",
        "kubernetesJobs.max=5",
        "kubernetesJobs.memory.min=4Gi",
        "kubernetesJobs.memory.max=64Gi",
        "kubernetesJobs.pendingTimeout=120",
        "kubernetesJobs.ttl=30",
        "kubernetesJobs.queueName=conversions",
        "kubernetesJobs.deadline=9000",
    )
    told = {name: value for name, value in settings(found, WORKER).items() if name.startswith("KUBERNETES_")}
    assert told == {
        "KUBERNETES_JOBS": "auto",
        "KUBERNETES_JOB_MIN_SIZE": "32MiB",
        "KUBERNETES_JOBS_MAX": "5",
        "KUBERNETES_JOB_MEMORY_MIN": "4GiB",
        "KUBERNETES_JOB_MEMORY_MAX": "64GiB",
        "KUBERNETES_JOB_PENDING_TIMEOUT": "120",
        "KUBERNETES_JOB_DEADLINE": "9000",
        "KUBERNETES_JOB_TTL": "30",
        "KUBERNETES_JOB_QUEUE": "conversions",
        "KUBERNETES_JOB_TEMPLATE": "/etc/meshgate/kubernetes-job/pod-template.json",
        "KUBERNETES_JOB_PREFIX": "m-meshgate",
    }
    # The program's own default.
    assert "KUBERNETES_JOB_DEADLINE" not in settings(jobs(), WORKER)
    # Gateways accept executor=kubernetes and take the census of a model, but have neither template nor token.
    gateway = settings(found, "m-meshgate-gateway")
    assert {name: value for name, value in gateway.items() if name.startswith("KUBERNETES_")} == told


def test_workers_know_their_pod_and_read_the_template():
    pod = pods(jobs())[f"Deployment/{WORKER}"]
    [container] = pod["containers"]
    filled_in = [each for each in container["env"] if "value" not in each]
    fields = {each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"] for each in filled_in}
    assert fields == {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"}
    [volume] = [each["name"] for each in pod["volumes"] if each.get("configMap") == {"name": "m-meshgate-job-template"}]
    [folder] = [each["mountPath"] for each in container["volumeMounts"] if each["name"] == volume]
    assert settings(jobs(), WORKER)["KUBERNETES_JOB_TEMPLATE"] == f"{folder}/pod-template.json"


def test_workers_are_replaced_for_a_new_template():
    def checksum(*values: str) -> str:
        annotations = jobs(*values)[f"Deployment/{WORKER}"]["spec"]["template"]["metadata"]["annotations"]
        return annotations["checksum/job-template"]

    assert checksum() == checksum() != checksum("kubernetesJobs.runtimeClassName=gvisor")


def test_rights_are_those_of_jobs_pods_and_events_in_the_own_namespace():
    found = jobs()
    rights = {
        (group, resource, verb)
        for rule in found[f"Role/{WORKER}"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    reading = {("", resource, verb) for resource in ("pods", "events") for verb in ("get", "list", "watch")}
    assert rights == reading | {("batch", "jobs", verb) for verb in ("create", "get", "list", "watch", "delete")}
    binding = found[f"RoleBinding/{WORKER}"]
    assert binding["roleRef"]["name"] == WORKER
    account = pods(found)[f"Deployment/{WORKER}"]["serviceAccountName"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "models"}]
    assert not [name for name in found if name.startswith("Cluster")]


@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_the_template_makes_valid_jobs(kubernetes, tmp_path):
    values = ["storage.existingSecret=s", "kubernetesJobs.tolerations[0].key=large", "initContainers[0].name=first"]
    values += ["kubernetesJobs.runtimeClassName=gvisor", "kubernetesJobs.priorityClassName=low"]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "m-meshgate-1"},
        "spec": {"template": template(jobs(*values))},
    }
    check_schema([job], kubernetes, tmp_path)


def test_pods_of_jobs_are_those_of_workers_with_less():
    found = jobs("webhooks.existingSecret=hooks", "apiKeys.existingSecret=keys", "storage.existingSecret=bucket")
    pod = template(found)["spec"]
    worker = pods(found)[f"Deployment/{WORKER}"]
    [container], [of_worker] = pod["containers"], worker["containers"]
    for field in ("image", "imagePullPolicy", "securityContext"):
        assert container[field] == of_worker[field], field
    assert pod["securityContext"] == worker["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["seccompProfile"]
    assert pod["automountServiceAccountToken"] is False and pod["restartPolicy"] == "Never"
    # The program sets arguments and resources, and nobody asks a pod that ends by itself whether it lives.
    absent = {"args", "command", "resources", "ports", "livenessProbe", "readinessProbe", "startupProbe"}
    assert not absent & container.keys()
    told = {each["name"]: each["value"] for each in container["env"]}
    of_workers = settings(found, WORKER)
    assert told["WORKERS"] == "1"
    without = {name for name in of_workers if name.startswith("KUBERNETES_")} | {"WEBHOOK_SECRET_FILE"}
    assert told.keys() == of_workers.keys() - without
    secrets = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
    assert secrets == {"bucket", "m-meshgate-redis", "m-meshgate-redis-jobs"}
    # Each pod's limit of disk space bounds this folder, as the model needs it.
    assert {"name": "work", "emptyDir": {}} in pod["volumes"]


def test_pods_of_jobs_run_where_values_say():
    place = ["nodeSelector.pool=usual", "priorityClassName=high", "extraContainers[0].name=beside"]
    pod = template(jobs(*place))["spec"]
    assert (pod["nodeSelector"], pod["priorityClassName"]) == ({"pool": "usual"}, "high")
    assert "runtimeClassName" not in pod
    # A container that never ends would keep the Job from ending.
    assert [container["name"] for container in pod["containers"]] == ["meshgate"]
    own = ["nodeSelector.pool=large", "priorityClassName=low", "runtimeClassName=kata", "tolerations[0].key=large"]
    pod = template(jobs(*place, *(f"kubernetesJobs.{value}" for value in own)))["spec"]
    assert (pod["nodeSelector"], pod["priorityClassName"]) == ({"pool": "large"}, "low")
    assert (pod["runtimeClassName"], pod["tolerations"]) == ("kata", [{"key": "large"}])


def test_pods_of_jobs_are_no_pods_of_a_deployment_or_service():
    found = jobs("commonLabels.team=avatars")
    labels = template(found)["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == "job" and labels["team"] == "avatars"
    for name, thing in found.items():
        selector = thing.get("spec", {}).get("selector", {}) if thing["kind"] in ("Service", "Deployment") else None
        if selector:
            assert not selector.get("matchLabels", selector).items() <= labels.items(), name


def test_names_of_jobs_and_their_pods_fit_into_labels():
    found = jobs(name="a" * 53)
    [worker] = [name for name in found if name.startswith("Deployment/") and name.endswith("-worker")]
    prefix = settings(found, worker.removeprefix("Deployment/"))["KUBERNETES_JOB_PREFIX"]
    assert len(f"{prefix}-{'0' * 32}-abcde") <= 63 and not prefix.endswith("-")
