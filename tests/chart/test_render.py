"""Manifests that the chart renders from values."""

import base64
import hashlib
import json
import os
import re
import tomllib

import pytest
import yaml
from kit import (
    CASES,
    CHART,
    HELMS,
    KUBERNETES,
    ROOT,
    check_schema,
    helm,
    mebibytes,
    objects,
    pods,
    rendered,
    sets,
    settings,
)

# Third-party kinds without packaged schemas.
CUSTOM = {"HTTPRoute", "ServiceMonitor", "PrometheusRule", "ScaledObject"}


@pytest.mark.parametrize("version", HELMS)
def test_helm_lint_passes(version):
    done = helm("lint", "--strict", str(CHART), version=version)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.removesuffix("-values.yaml"))
def test_manifests_are_valid_for_every_kubernetes_version(case, tmp_path):
    found = [objects("--values", str(case), version=version) for version in HELMS]
    # The password is generated at each render, and pods carry its checksum.
    found = [{name: thing for name, thing in of_one.items() if thing["kind"] != "Secret"} for of_one in found]
    for of_one in found:
        for thing in of_one.values():
            if thing["kind"] in ("Deployment", "StatefulSet"):
                annotations = thing["spec"]["template"]["metadata"].get("annotations", {})
                for checksum in ("checksum/secret", "checksum/secrets"):
                    annotations.pop(checksum, None)
    assert found[0] == found[1], "Helm 3 and 4 differ"
    usual = [thing for thing in found[0].values() if thing["kind"] not in CUSTOM]
    for kubernetes in KUBERNETES:
        check_schema(usual, kubernetes, tmp_path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.removesuffix("-values.yaml"))
def test_pods_run_with_least_privilege(case):
    found = objects("--values", str(case))
    # Only workers that create Kubernetes Jobs may ask the API server for anything.
    trusted = ["Deployment/m-meshgate-worker"] if "Role/m-meshgate-worker" in found else []
    for name, pod in pods(found).items():
        assert pod["automountServiceAccountToken"] is (name in trusted), name
        assert pod["enableServiceLinks"] is False, name
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            if container["name"] == "beside":
                continue
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            resources = container["resources"]
            assert {"memory", "ephemeral-storage"} <= resources["limits"].keys(), name
            assert {"cpu", "memory"} <= resources["requests"].keys(), name
        for volume in pod.get("volumes", []):
            if "emptyDir" in volume and volume["name"] != "fonts":
                assert volume["emptyDir"]["sizeLimit"], name


@pytest.mark.parametrize("version", HELMS)
def test_user_ids_can_be_left_to_the_cluster(version):
    ids = [
        f"{of}odSecurityContext.{name}=null"
        for of in ("p", "redis.p")
        for name in ("runAsUser", "runAsGroup", "fsGroup")
    ]
    found = pods(objects(*sets(*ids), version=version))
    for name in ("Deployment/m-meshgate", "StatefulSet/m-meshgate-redis", "StatefulSet/m-meshgate-redis-jobs"):
        security = found[name]["securityContext"]
        assert security["runAsNonRoot"] is True and not {"runAsUser", "runAsGroup", "fsGroup"} & security.keys(), name


def test_timeouts_and_sizes_are_consistent_across_objects():
    """Sizes and timeouts of server, ingress, route and pod."""
    sizes = "conversionTimeout=1200,maxFileSize=2Gi,workSizeLimit=20Gi,shutdown.delay=7,shutdown.grace=100"
    found = objects("--set", sizes, "--set", "httpRoute.enabled=true,httpRoute.parentRefs[0].name=g")
    told = settings(found)
    assert (told["CONVERSION_TIMEOUT"], told["MAX_FILE_SIZE"]) == ("1200", "2GiB")
    annotations = found["Ingress/m-meshgate"]["metadata"]["annotations"]
    of_nginx = {name.split("/")[1]: value for name, value in annotations.items()}
    # Slightly longer, so that the client gets the server's own timeout error.
    assert of_nginx["proxy-read-timeout"] == of_nginx["proxy-send-timeout"] == "1230"
    # Far larger, so that the client gets the server's own error.
    assert of_nginx["proxy-body-size"] == "20480m"
    assert (of_nginx["proxy-request-buffering"], of_nginx["proxy-buffering"]) == ("off", "off")
    rule, of_jobs = found["HTTPRoute/m-meshgate"]["spec"]["rules"]
    assert rule["timeouts"] == {"request": "1230s", "backendRequest": "1230s"}
    # Streams of events last as long as their jobs.
    assert of_jobs["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    assert of_jobs["matches"] == [{"path": {"type": "PathPrefix", "value": "/v1/jobs"}}]
    assert of_jobs["backendRefs"] == rule["backendRefs"]
    assert pods(found)["Deployment/m-meshgate"]["terminationGracePeriodSeconds"] == 7 + 100 + 10


def test_proxies_wait_for_long_polls():
    """A request for a job is silent for a minute, if the client wants to wait."""
    found = objects(*sets("conversionTimeout=10", "httpRoute.enabled=true", "httpRoute.parentRefs[0].name=g"))
    annotations = found["Ingress/m-meshgate"]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "90"
    assert found["HTTPRoute/m-meshgate"]["spec"]["rules"][0]["timeouts"]["request"] == "90s"


def test_chart_defaults_match_nginx_and_compose():
    told = settings(objects())
    nginx = (ROOT / "nginx/nginx.conf").read_text()
    assert told["MAX_FILE_SIZE"] == "100MiB" and "client_max_body_size 100m;" in nginx
    assert f"proxy_send_timeout {told['CONVERSION_TIMEOUT']}s;" in nginx
    compose = yaml.safe_load((ROOT / "docker-compose.prod.yml").read_text())
    of_all = {"maxmemory 512mb", 'save ""', "protected-mode no"}
    for service, own in [
        ("redis", {"maxmemory-policy allkeys-lru", "appendonly no"}),
        ("redis-jobs", {"maxmemory-policy noeviction", "appendonly yes", "dir /data"}),
    ]:
        container = pods(objects())[f"StatefulSet/m-meshgate-{service}"]["containers"][0]
        for text in (compose["services"][service]["command"][0], container["args"][0]):
            assert of_all | own <= set(text.splitlines()), text
        assert container["image"] == "redis:7-bookworm" and "redis:7-bookworm" in compose["services"][service]["image"]
    assert "appendfsync ${JOBS_APPENDFSYNC:-everysec}" in compose["services"]["redis-jobs"]["command"][0]


def test_jobs_are_in_a_redis_that_keeps_them():
    values = ["redisJobs.maxmemory=1gb", "redisJobs.appendfsync=always", "redisJobs.persistence.size=8Gi"]
    found = objects(*sets(*values, "redisJobs.persistence.storageClass=fast"))
    told = settings(found)
    assert told["JOBS_REDIS_URL"] == "redis://m-meshgate-redis-jobs:6379/0"
    assert told["JOBS_REDIS_PASSWORD_FILE"] == "/run/secrets/meshgate/redis-jobs/redis-password"
    redis = found["StatefulSet/m-meshgate-redis-jobs"]["spec"]
    [claim] = redis["volumeClaimTemplates"]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "8Gi"}},
    }
    [container] = redis["template"]["spec"]["containers"]
    # The folder of the claim is that of the file.
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == claim["metadata"]["name"]]
    lines = container["args"][0].splitlines()
    assert {"maxmemory 1gb", "appendfsync always", f"dir {mount['mountPath']}"} <= set(lines)
    # As much again as the data, to rewrite the file.
    assert container["resources"]["limits"]["memory"] == "2048Mi"
    assert container["startupProbe"]["exec"] == container["livenessProbe"]["exec"]


def test_the_claim_of_jobs_has_only_labels_that_never_change():
    """Helm cannot upgrade a StatefulSet whose template of claims changes."""
    found = objects("--set", "commonLabels.team=avatars")
    [claim] = found["StatefulSet/m-meshgate-redis-jobs"]["spec"]["volumeClaimTemplates"]
    labels = {f"app.kubernetes.io/{label}" for label in ("name", "instance", "component")}
    assert claim["metadata"]["labels"].keys() == labels


def test_jobs_can_be_in_an_external_redis_or_in_the_pod():
    found = objects(*sets("externalRedisJobs.url=redis://jobs.example.org:6380/1"))
    assert settings(found)["JOBS_REDIS_URL"] == "redis://jobs.example.org:6380/1"
    assert "JOBS_REDIS_PASSWORD_FILE" not in settings(found)
    assert not [name for name in found if name.endswith("-redis-jobs")]
    found = objects(*sets("redisJobs.enabled=false"))
    assert not [name for name in settings(found) if name.startswith("JOBS_REDIS")]
    assert not [name for name in found if name.endswith("-redis-jobs")]
    # Authorities of both Redis servers are trusted, beside the usual ones.
    urls = ["externalRedis.url=rediss://cache", "externalRedisJobs.url=rediss://jobs"]
    found = objects(*sets(*urls, "externalRedis.caSecret=a", "externalRedisJobs.caSecret=b"))
    folders = ["redis-ca", "redis-jobs-ca"]
    wanted = ":".join(["/etc/ssl/certs", *(f"/run/secrets/meshgate/{folder}" for folder in folders)])
    assert settings(found)["SSL_CERT_DIR"] == wanted
    mounted = {volume["secret"]["secretName"] for volume in pods(found)["Deployment/m-meshgate"]["volumes"]
               if "secret" in volume}  # fmt: skip
    assert mounted == {"a", "b"}


def test_memory_resources_follow_the_worker_count():
    def memory(*values: str) -> tuple[int, int]:
        found = objects(*sets(*values))
        resources = pods(found)["Deployment/m-meshgate"]["containers"][0]["resources"]
        return mebibytes(resources["requests"]["memory"]), mebibytes(resources["limits"]["memory"])

    assert memory() == (1536, 2 * 2048 + 1024)
    assert memory("workers=3", "workerMemoryLimit=4Gi") == (1536, 3 * 4096 + 1024)
    assert memory("guaranteed=true") == (5120, 5120)
    assert memory("resources.limits.memory=8Gi") == (1536, 8192)
    found = objects("--set", "guaranteed=true")
    resources = pods(found)["Deployment/m-meshgate"]["containers"][0]["resources"]
    assert resources["requests"] == resources["limits"]


def test_default_resource_requests_fit_on_a_laptop():
    containers = [container for pod in pods(objects()).values() for container in pod["containers"]]
    memory = sum(mebibytes(container["resources"]["requests"]["memory"]) for container in containers)
    cpu = sum(int(container["resources"]["requests"]["cpu"].removesuffix("m")) for container in containers)
    assert memory <= 2048 and cpu <= 500, (memory, cpu)


def test_helm_test_converts_a_model_with_its_api_key():
    def test(*values: str) -> dict:
        return pods(objects(*values))["Pod/m-meshgate-test"]

    assert "/convert?output_format=glb" in test()["containers"][0]["args"][0]
    assert "volumes" not in test()
    [volume] = test("--set", "apiKeys.existingSecret=keys")["volumes"]
    assert volume["secret"]["secretName"] == "keys"


def test_pods_sharing_one_claim_are_recreated():
    def strategy(*values: str) -> str:
        found = objects(*sets(*values))
        return found["Deployment/m-meshgate"]["spec"]["strategy"]["type"]

    assert strategy() == "Recreate"
    assert strategy("storage.url=s3://b") == "RollingUpdate"
    assert strategy("persistence.enabled=false") == "RollingUpdate"
    assert strategy("persistence.accessModes={ReadWriteMany}") == "RollingUpdate"


def test_an_autoscaler_leaves_the_replica_count_unset():
    values = "storage.url=s3://b,autoscaling.enabled=true,guaranteed=true"
    assert "replicas" not in objects("--set", values)["Deployment/m-meshgate"]["spec"]
    assert objects()["Deployment/m-meshgate"]["spec"]["replicas"] == 1


def test_secrets_are_mounted_as_files():
    values = ["--values", str(CHART / "ci/replicated-values.yaml"), "--set", "webhooks.existingSecret=hooks"]
    found = objects(*values)
    told = settings(found)
    assert told["REDIS_PASSWORD_FILE"] == "/run/secrets/meshgate/redis/redis-password"
    assert told["JOBS_REDIS_PASSWORD_FILE"] == "/run/secrets/meshgate/redis-jobs/password"
    assert told["API_KEYS_FILE"] == "/run/secrets/meshgate/api-keys/api-keys"
    assert told["WEBHOOK_SECRET_FILE"] == "/run/secrets/meshgate/webhooks/webhook-secret"
    assert told["AWS_SECRET_ACCESS_KEY_FILE"] == "/run/secrets/meshgate/storage/AWS_SECRET_ACCESS_KEY"
    pod = pods(found)["Deployment/m-meshgate"]
    secrets = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
    assert secrets == {"bucket", "keys", "hooks", "cache", "cache-ca", "jobs", "jobs-ca"}
    assert not [name for name in found if name.startswith("Secret/")]


def test_settings_are_part_of_the_pod_template():
    """Pods of an earlier revision never read settings of a later one."""
    found = objects("--set-string", "extraEnv[0].name=WORKERS,extraEnv[0].value=7")
    container = pods(found)["Deployment/m-meshgate"]["containers"][0]
    names = [variable["name"] for variable in container["env"]]
    assert "BIND_ADDRESS" in names and len(names) == len(set(names)), "a name twice is refused by Helm 4"
    assert settings(found)["WORKERS"] == "7"
    assert not [name for name in found if name.startswith("ConfigMap/")]


def test_open_services_trust_no_proxy():
    assert "10.0.0.0/8" in settings(objects())["TRUSTED_PROXIES"]
    for values in ("service.type=NodePort", "service.type=LoadBalancer", "networkPolicy.enabled=false"):
        assert "TRUSTED_PROXIES" not in settings(objects("--set", values)), values
    found = objects("--set", "service.type=NodePort,trustedProxies={10.1.0.0/16}")
    assert settings(found)["TRUSTED_PROXIES"] == "10.1.0.0/16"


def test_the_pod_template_changes_with_the_generated_password():
    found = objects()
    passwords = set()
    for name in ("m-meshgate-redis", "m-meshgate-redis-jobs"):
        password = base64.b64decode(found[f"Secret/{name}"]["data"]["redis-password"])
        annotations = found[f"StatefulSet/{name}"]["spec"]["template"]["metadata"]["annotations"]
        assert annotations["checksum/secret"] == hashlib.sha256(password).hexdigest()
        passwords.add(password)
    assert len(passwords) == 2


def test_pods_are_not_replaced_for_the_secret_of_an_external_redis():
    """Without a cluster, the contents of a secret are unknown, and a generated password would be new each time."""
    values = ["externalRedis.host=c", "externalRedis.existingSecret=m-meshgate-redis"]
    values += ["externalRedisJobs.url=redis://jobs", "externalRedisJobs.existingSecret=m-meshgate-redis-jobs"]

    def checksum() -> str:
        template = objects(*sets(*values))["Deployment/m-meshgate"]["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/secrets"]

    assert checksum() == checksum()


def test_long_names_leave_room_for_the_suffixes_of_kubernetes():
    found = objects(name="a" * 53)
    for name, thing in found.items():
        # A label of its pods is this name, a hyphen and ten characters.
        most = 52 if thing["kind"] == "StatefulSet" else 63
        assert len(thing["metadata"]["name"]) <= most, name
    assert len([name for name in found if name.startswith("StatefulSet/")]) == 2


def test_large_numbers_are_not_rewritten(tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text(
        "config: {CACHE_MAX_SIZE: 5368709120, MAX_CONNECTIONS: 1000000, CACHE: true, QUEUE_TIMEOUT: 1.5}\n"
    )
    told = settings(objects("--values", str(values)))
    wanted = {"CACHE_MAX_SIZE": "5368709120", "MAX_CONNECTIONS": "1000000", "CACHE": "true", "QUEUE_TIMEOUT": "1.5"}
    assert wanted.items() <= told.items()


def test_resource_requests_stay_below_their_limits():
    def resources(*values: str) -> dict:
        found = objects(*sets(*values))
        return pods(found)["Deployment/m-meshgate"]["containers"][0]["resources"]

    assert resources("workSizeLimit=512Mi")["requests"]["ephemeral-storage"] == "832Mi"
    assert resources("resources.limits.cpu=200m")["requests"]["cpu"] == "200m"
    assert resources("resources.limits.cpu=2")["requests"]["cpu"] == "250m"


def test_results_and_jobs_fit_the_volume():
    def kept(*values: str) -> tuple[str, str]:
        told = settings(objects(*sets(*values)))
        return told.get("DATA_MAX_SIZE"), told.get("JOBS_MAX_SIZE")

    assert kept() == ("10240MiB", "5120MiB")
    assert kept("persistence.size=6Gi") == ("3072MiB", "1536MiB")
    # Beyond the size of the work folder, the node evicts the pod.
    assert kept("persistence.enabled=false") == ("2560MiB", "1280MiB")
    assert kept("storage.url=s3://b") == (None, None)
    assert kept("config.DATA_MAX_SIZE=3G") == ("3G", "5120MiB")
    assert kept("config.JOBS_MAX_SIZE=3G") == ("10240MiB", "3G")


def test_a_new_chart_version_alone_replaces_no_pod():
    found = objects()
    for name in ("Deployment/m-meshgate", "StatefulSet/m-meshgate-redis", "StatefulSet/m-meshgate-redis-jobs"):
        labels = found[name]["spec"]["template"]["metadata"]["labels"]
        assert set(labels) == {f"app.kubernetes.io/{label}" for label in ("name", "instance", "component")}, name


def test_the_ingress_does_not_expose_metrics():
    found = objects()
    [rule] = found["Ingress/m-meshgate"]["spec"]["rules"]
    for path in rule["http"]["paths"]:
        assert path["backend"]["service"] == {"name": "m-meshgate", "port": {"name": "http"}}
    assert [port["targetPort"] for port in found["Service/m-meshgate"]["spec"]["ports"]] == ["http"]
    assert settings(found)["METRICS_ADDRESS"] == "0.0.0.0:9464"


def test_alerts_and_dashboard_match_the_documentation():
    for name in ("alerts.yml", "dashboard.json"):
        assert (CHART / "files" / name).read_bytes() == (ROOT / "docs/observability" / name).read_bytes(), name
    found = objects("--values", str(CHART / "ci/watched-values.yaml"))
    rule = found["PrometheusRule/m-meshgate"]["spec"]
    assert rule == yaml.safe_load((ROOT / "docs/observability/alerts.yml").read_text())
    dashboard = found["ConfigMap/m-meshgate-dashboard"]["data"]["meshgate.json"]
    assert json.loads(dashboard) == json.loads((ROOT / "docs/observability/dashboard.json").read_text())


def test_pods_get_only_known_settings():
    known = set(re.findall(r"^    ([A-Z_]+): ", (ROOT / "src/config/settings.rs").read_text(), re.MULTILINE))
    of_clouds = ("AWS_", "AZURE_", "GOOGLE_", "SSL_CERT_DIR")
    for case in CASES:
        if case.name == "extras-values.yaml":
            continue
        found = objects("--values", str(case))
        deployments = [thing["metadata"]["name"] for thing in found.values() if thing["kind"] == "Deployment"]
        for name in {name for deployment in deployments for name in settings(found, deployment)}:
            bare = name.removesuffix("_FILE") if name.removesuffix("_FILE") in known else name
            assert bare in known or name.startswith(of_clouds), name


def test_chart_versions_match_the_program():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    assert (chart["version"], chart["appVersion"]) == (version, version)


def test_extra_objects_and_containers_are_rendered():
    found = objects("--values", str(CHART / "ci/extras-values.yaml"))
    assert {"ConfigMap/m-converter-more", "ConfigMap/m-text"} <= found.keys()
    pod = pods(found)["Deployment/m-converter"]
    assert [container["name"] for container in pod["initContainers"]] == ["hello"]
    assert [container["name"] for container in pod["containers"]] == ["meshgate", "beside"]
    assert {"name": "RUST_BACKTRACE", "value": "1"} in pod["containers"][0]["env"]
    assert all(thing["metadata"]["labels"]["team"] == "avatars" for name, thing in found.items()
               if not name.startswith("ConfigMap/"))  # fmt: skip


def leaves(values: dict, above: str = "") -> list[str]:
    """The names of all values, as `image.tag`."""
    names = []
    for name, value in values.items():
        is_map = isinstance(value, dict) and value
        names += leaves(value, f"{above}{name}.") if is_map else [above + name]
    return names


def test_the_readme_lists_every_value():
    section = (CHART / "README.md").read_text().split("\n## Values\n")[1]
    table = re.findall(r"^\| ([\w.-]+)(?:\[\d\])* \| \w+ \| `", section, re.MULTILINE)
    names = leaves(yaml.safe_load((CHART / "values.yaml").read_text()))
    # A map that is documented as one value has one line.
    lines = {line for line in table if any(name == line or name.startswith(f"{line}.") for name in names)}
    missing = [name for name in names if not any(name == line or name.startswith(f"{line}.") for line in lines)]
    assert not missing, missing
    assert not set(table) - lines


def test_the_schema_lists_every_value():
    schema = json.loads((CHART / "values.schema.json").read_text())

    def check(values: dict, schema: dict, above: str) -> None:
        assert schema["additionalProperties"] is False, above
        for name, value in values.items():
            assert name in schema["properties"], above + name
            inner = schema["properties"][name]
            if value and "properties" in inner:
                check(value, inner, f"{above}{name}.")
        # A parent chart may disable this chart.
        assert set(schema["properties"]) - ({"enabled"} if not above else set()) == set(values), above

    check(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "")


def test_default_manifests_match_the_snapshot():
    """Run the test with `UPDATE=1` to rewrite the snapshot; review the diff before you commit it."""
    snapshot = ROOT / "tests/chart/default.yaml"
    now = re.sub(
        r"(redis-password: |checksum/secrets?: )\S+", r"\1MADE-AT-THE-FIRST-INSTALL", rendered(name="meshgate")
    )
    if os.environ.get("UPDATE"):
        snapshot.write_text(now)
    assert now == snapshot.read_text(), "run it with UPDATE=1, and look at the difference"
