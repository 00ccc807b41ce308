"""Gateways and workers apart."""

import pytest
from kit import HELMS, mebibytes, objects, pods, rendered, sets, settings

BUCKET = ["mode=distributed", "storage.url=s3://b"]
GATEWAY, WORKER = "m-meshgate-gateway", "m-meshgate-worker"


def distributed(*values: str, **options) -> dict[str, dict]:
    return objects(*sets(*BUCKET, *values), **options)


def component(labels: dict) -> str:
    return labels["app.kubernetes.io/component"]


@pytest.mark.parametrize("version", HELMS)
def test_each_role_has_a_deployment_of_its_own(version):
    found = distributed("workers=3", version=version)
    deployments = {name for name in found if name.startswith("Deployment/")}
    assert deployments == {f"Deployment/{GATEWAY}", f"Deployment/{WORKER}"}
    # The image's own command is `serve`.
    gateway, worker = (pods(found)[f"Deployment/{name}"]["containers"][0] for name in (GATEWAY, WORKER))
    assert "args" not in gateway and worker["args"] == ["worker"]
    assert (settings(found, GATEWAY)["WORKERS"], settings(found, WORKER)["WORKERS"]) == ("0", "3")


def test_both_roles_share_queue_store_and_cache():
    found = distributed("config.AWS_REGION=eu-west-1", "storage.existingSecret=bucket")
    gateway, worker = settings(found, GATEWAY), settings(found, WORKER)
    shared = ["JOBS_REDIS_URL", "JOBS_REDIS_PASSWORD_FILE", "REDIS_HOST", "STORAGE_URL", "AWS_REGION"]
    shared += ["AWS_SECRET_ACCESS_KEY_FILE", "CONVERSION_TIMEOUT", "WORKER_MEMORY_LIMIT"]
    assert {name: gateway[name] for name in shared} == {name: worker[name] for name in shared}
    claimed = objects(*sets("mode=distributed", "persistence.accessModes={ReadWriteMany}"))
    for name in (GATEWAY, WORKER):
        assert settings(claimed, name)["CONVERSION_CACHE_DIR"] == "/results/store"
        mounted = {volume["name"] for volume in pods(claimed)[f"Deployment/{name}"]["volumes"]}
        assert "results" in mounted, name


def test_only_gateways_are_behind_the_service():
    found = distributed("httpRoute.enabled=true", "httpRoute.parentRefs[0].name=g")
    assert component(found["Service/m-meshgate"]["spec"]["selector"]) == "gateway"
    [rule] = found["Ingress/m-meshgate"]["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"]["service"]["name"] == "m-meshgate"
    backends = [each["backendRefs"] for each in found["HTTPRoute/m-meshgate"]["spec"]["rules"]]
    assert all(backend["name"] == "m-meshgate" for refs in backends for backend in refs)
    [worker] = pods(found)[f"Deployment/{WORKER}"]["containers"]
    assert [port["name"] for port in worker["ports"]] == ["metrics"]
    # Nothing but probes and metrics can be reached from outside of the pod.
    assert settings(found, WORKER)["BIND_ADDRESS"] == "127.0.0.1:5000"
    assert {worker[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")} == {
        "metrics"
    }


def test_one_service_for_metrics_selects_both_roles_and_nothing_else():
    found = distributed("metrics.serviceMonitor.enabled=true")
    selector = found["Service/m-meshgate-metrics"]["spec"]["selector"].items()
    selected = {
        name
        for name, thing in found.items()
        if thing["kind"] in ("Deployment", "StatefulSet")
        and selector <= thing["spec"]["template"]["metadata"]["labels"].items()
    }
    assert selected == {f"Deployment/{GATEWAY}", f"Deployment/{WORKER}"}
    wanted = found["ServiceMonitor/m-meshgate"]["spec"]["selector"]["matchLabels"].items()
    services = [name for name, thing in found.items()
                if thing["kind"] == "Service" and wanted <= thing["metadata"]["labels"].items()]  # fmt: skip
    assert services == ["Service/m-meshgate-metrics"]


def test_gateways_need_little_memory_and_workers_that_of_their_conversions():
    def memory(name: str, *values: str) -> tuple[int, int]:
        resources = pods(distributed(*values))[f"Deployment/{name}"]["containers"][0]["resources"]
        return mebibytes(resources["requests"]["memory"]), mebibytes(resources["limits"]["memory"])

    assert memory(GATEWAY) == memory(GATEWAY, "workers=8") == (128, 1024)
    assert memory(WORKER) == (1536, 2 * 2048 + 1024)
    assert memory(WORKER, "workers=3", "workerMemoryLimit=4Gi") == (1536, 3 * 4096 + 1024)
    assert memory(GATEWAY, "guaranteed=true") == (1024, 1024)
    assert memory(WORKER, "guaranteed=true") == (5120, 5120)
    own = ["gateway.resources.limits.memory=2Gi", "worker.resources.limits.memory=9Gi"]
    assert (memory(GATEWAY, *own), memory(WORKER, *own)) == ((128, 2048), (1536, 9216))


def test_each_role_has_its_own_time_to_stop():
    found = distributed("shutdown.delay=7", "shutdown.grace=100", "worker.shutdownGrace=900")
    gateway, worker = settings(found, GATEWAY), settings(found, WORKER)
    assert (gateway["SHUTDOWN_DELAY"], gateway["SHUTDOWN_GRACE"]) == ("7", "100")
    # No load balancer has to notice that a worker stops.
    assert "SHUTDOWN_DELAY" not in worker and worker["SHUTDOWN_GRACE"] == "900"
    seconds = {name: pods(found)[f"Deployment/{name}"]["terminationGracePeriodSeconds"] for name in (GATEWAY, WORKER)}
    assert seconds == {GATEWAY: 7 + 100 + 10, WORKER: 900 + 10}


def test_workers_do_not_get_what_only_gateways_need():
    found = distributed("apiKeys.existingSecret=keys", "webhooks.existingSecret=hooks")
    gateway, worker = settings(found, GATEWAY), settings(found, WORKER)
    assert "API_KEYS_FILE" in gateway and "TRUSTED_PROXIES" in gateway
    assert not {"API_KEYS_FILE", "TRUSTED_PROXIES"} & worker.keys()
    # Both send webhooks.
    assert "WEBHOOK_SECRET_FILE" in gateway and "WEBHOOK_SECRET_FILE" in worker
    # The default of gateways with keys, so that both find the same entries of the cache.
    assert "CACHE_SCOPE" not in gateway and worker["CACHE_SCOPE"] == "key"
    shared = distributed("apiKeys.existingSecret=keys", "config.CACHE_SCOPE=shared")
    assert {settings(shared, name)["CACHE_SCOPE"] for name in (GATEWAY, WORKER)} == {"shared"}
    assert "CACHE_SCOPE" not in settings(distributed(), WORKER)


@pytest.mark.parametrize("kind", ["PodDisruptionBudget", "NetworkPolicy"])
def test_each_role_is_protected_by_itself(kind):
    found = distributed()
    for name in (GATEWAY, WORKER):
        spec = found[f"{kind}/{name}"]["spec"]
        selector = spec.get("selector", spec.get("podSelector"))["matchLabels"]
        template = found[f"Deployment/{name}"]["spec"]["template"]["metadata"]["labels"]
        assert selector.items() <= template.items() and component(selector) == name.removeprefix("m-meshgate-")


def test_a_single_pod_of_a_role_has_no_budget():
    found = distributed("worker.replicas=1")
    assert f"PodDisruptionBudget/{GATEWAY}" in found and f"PodDisruptionBudget/{WORKER}" not in found
    assert f"PodDisruptionBudget/{WORKER}" in distributed("worker.replicas=1", "keda.enabled=true")


def test_roles_are_placed_alike_unless_they_say_otherwise():
    def placed(*values: str) -> list[dict]:
        found = pods(distributed("nodeSelector.disk=fast", "priorityClassName=high", *values))
        return [found[f"Deployment/{name}"] for name in (GATEWAY, WORKER)]

    for pod in placed():
        assert (pod["nodeSelector"], pod["priorityClassName"]) == ({"disk": "fast"}, "high")
        assert len(pod["topologySpreadConstraints"]) == 2
    gateway, worker = placed("worker.nodeSelector.pool=large", "worker.tolerations[0].key=large")
    assert gateway["nodeSelector"] == {"disk": "fast"} and "tolerations" not in gateway
    assert worker["nodeSelector"] == {"pool": "large"} and worker["tolerations"] == [{"key": "large"}]
    spread = worker["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
    assert component(spread) == "worker"


def test_pods_are_replaced_for_their_own_secrets_only():
    def checksums(*values: str) -> list[str]:
        secrets = ["redis.existingSecret=r", "redisJobs.existingSecret=j", *values]
        found = distributed(*secrets)
        templates = [found[f"Deployment/{name}"]["spec"]["template"] for name in (GATEWAY, WORKER)]
        return [template["metadata"]["annotations"]["checksum/secrets"] for template in templates]

    before, after = checksums(), checksums("apiKeys.existingSecret=keys")
    assert before[0] != after[0] and before[1] == after[1]


def test_switching_to_distributed_mode_keeps_claims_and_addresses():
    shared = ["persistence.accessModes={ReadWriteMany}"]
    before, after = objects(*sets(*shared)), objects(*sets("mode=distributed", *shared))
    kept = ("PersistentVolumeClaim", "Service", "StatefulSet", "Ingress", "ServiceAccount")
    names = {name for name in before if name.split("/")[0] in kept}
    assert names == {name for name in after if name.split("/")[0] in kept}
    # The selector of a Deployment cannot change: a mode has Deployments of other names.
    assert not {name for name in before.keys() & after.keys() if name.startswith("Deployment/")}


def test_standalone_ignores_the_values_of_roles():
    values = ["redis.existingSecret=r", "redisJobs.existingSecret=j"]
    roles = ["gateway.replicas=5", "worker.replicas=7", "worker.shutdownGrace=9", "keda.maxWait=1"]
    assert rendered(*sets(*values, *roles)) == rendered(*sets(*values))
