"""The chart with default values, in a namespace that enforces the pod security standard `restricted`."""

import base64
import concurrent.futures
import io
import json
import struct
import time
import zipfile

import pytest
import yaml
from cluster import REACHES, Load, Release, apply, get, image, kubectl, namespace, pod
from kit import MAKE_EATER, ROOT, Jobs, ask, grid, triangle, until


@pytest.fixture(scope="module")
def release(models):
    began = time.monotonic()
    release = Release(models)
    release.put("install")
    release.converts()
    print(f"\nfrom `helm install` to the first converted file: {time.monotonic() - began:.1f} s")
    return release


def test_a_default_release_passes_helm_test(release):
    said = release.helm("test", "--logs").stdout
    assert "a triangle came back as a GLB of" in said, said
    doctor = release.inside("meshgate", "doctor")
    assert "✓ sandbox: complete" in doctor and "✗" not in doctor, doctor


def test_the_ingress_serves_conversions(release):
    model = (ROOT / "examples/humanoid.fbx").read_bytes()
    answer = release.convert("glb", model, "humanoid.fbx")
    assert answer.status == 200 and answer.body.startswith(b"glTF"), answer
    zip_file = io.BytesIO()
    with zipfile.ZipFile(zip_file, "w") as archive:
        archive.writestr("a.obj", b"mtllib a.mtl\n" + triangle())
        archive.writestr("a.mtl", b"newmtl a\nKd 1 0 0\n")
    answer = release.convert("glb", zip_file.getvalue(), "a.zip")
    assert answer.status == 200 and answer.body.startswith(b"glTF"), answer


def large_glb(size: int) -> bytes:
    """A GLB of `size` bytes: a triangle and an image that fills the rest."""
    corners = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
    content = corners + b"\x89PNG\r\n\x1a\n" + b"x" * (size - 2048)
    content += bytes(-len(content) % 4)
    views = [{"buffer": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": len(content) - 36}]
    accessor = {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0] * 3, "max": [1, 1, 0]}
    text = json.dumps({
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}], "accessors": [accessor],
        "images": [{"bufferView": 1, "mimeType": "image/png"}], "bufferViews": views,
        "buffers": [{"byteLength": len(content)}],
    }).encode()  # fmt: skip
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(content), 0x004E4942) + content
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def test_the_server_refuses_models_above_the_size_limit(release):
    answer = release.convert("gltf", large_glb(90_000_000), "a.glb")
    assert answer.status == 200 and len(answer.body) > 80_000_000, (answer.status, answer.body[:300])
    # One is slightly too large, the other far too large: nginx has a limit, too.
    for size in (101 << 20, 250 << 20):
        answer = release.convert("gltf", bytes(size), "a.glb")
        assert (answer.status, answer.problem()["code"]) == (413, "too_large")


@pytest.fixture(scope="module")
def unlimited(release):
    """The release without a rate limit: all clients here share the node's address."""
    release.values.append("config.RATE_LIMIT_REQUESTS=0")
    release.put("upgrade")
    return release


def test_equal_requests_are_converted_once(unlimited):
    model = grid(120)
    with concurrent.futures.ThreadPoolExecutor(20) as clients:
        asked = [clients.submit(unlimited.convert, "fbx", model, "grid.obj") for _ in range(20)]
        answers = [one.result() for one in asked]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    by = [answer.header("meshgate-cache") for answer in answers]
    assert by.count("miss") == 1 and set(by) <= {"miss", "coalesced", "hit"}, by


RULES = ROOT / "docs/observability/alerts.yml"
SCRAPE = """
global: {scrape_interval: 2s, evaluation_interval: 2s}
rule_files: [/etc/prometheus/alerts.yml]
scrape_configs:
  - job_name: meshgate
    dns_sd_configs:
      - {names: [meshgate-metrics.models.svc.cluster.local], type: A, port: 9464, refresh_interval: 2s}
"""


def test_prometheus_can_scrape_metrics_and_the_ingress_cannot(release):
    for path in ("/metrics", "/metrics/"):
        assert release.ask(path).status == 404
    with namespace("monitoring"):
        files = {"prometheus.yml": SCRAPE, "alerts.yml": RULES.read_text()}
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prometheus"}, "data": files}
        mounts = [{"name": "config", "mountPath": "/etc/prometheus"}, {"name": "data", "mountPath": "/prometheus"}]
        arguments = ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
        prometheus = pod("prometheus", "prom/prometheus:latest", volumeMounts=mounts, args=arguments)
        del prometheus["spec"]["containers"][0]["command"]
        prometheus["spec"]["volumes"] = [
            {"name": "config", "configMap": {"name": "prometheus"}},
            {"name": "data", "emptyDir": {}},
        ]
        apply("monitoring", config, prometheus)
        kubectl("-n", "monitoring", "wait", "--for=condition=Ready", "pod/prometheus", "--timeout=120s")
        address = get("monitoring", "pod", "prometheus")[0]["status"]["podIP"]

        def asked(path: str):
            return json.loads(ask(9090, path, host=address).body)["data"]

        def scraped():
            found = asked("/api/v1/query?query=meshgate_ready")["result"]
            return found and found[0]["value"][1] == "1"

        until("Prometheus has scraped it", scraped, 60)
        rules = {rule["name"] for group in asked("/api/v1/rules")["groups"] for rule in group["rules"]}
        groups = yaml.safe_load(RULES.read_text())["groups"]
        assert rules == {rule["alert"] for group in groups for rule in group["rules"]}


def test_network_policies_block_other_connections(release):
    [server] = release.pods()
    [redis] = release.pods("redis")
    [redis_jobs] = release.pods("redis-jobs")
    address = server["status"]["podIP"]
    with namespace("strangers"):
        apply("strangers", pod("stranger", image(), "sleep", "600", ports=[]),
              pod("listener", image(), "python3.11", "-m", "http.server", "8000", "--directory", "/etc"))  # fmt: skip
        kubectl("-n", "strangers", "wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
        listener = get("strangers", "pod", "listener")[0]["status"]["podIP"]

        def from_stranger(host: str, port: int) -> str:
            return kubectl("-n", "strangers", "exec", "stranger", "--", "python3.11", "-c", REACHES, host, str(port))

        # The stranger can connect where no policy forbids it.
        assert from_stranger(listener, 8000) == "reached\n"
        of_redis = [(one["status"]["podIP"], 6379) for one in (redis, redis_jobs)]
        for host, port in [(address, 9464), (address, 5000), *of_redis]:
            assert from_stranger(host, port).startswith("not reached"), (host, port)
        outside = release.inside("python3.11", "-c", REACHES, listener, "8000")
        assert outside.startswith("not reached"), outside
        for name in ("meshgate-redis", "meshgate-redis-jobs"):
            own = release.inside("python3.11", "-c", REACHES, name, "6379")
            assert own == "reached\n", own


def test_requests_succeed_while_redis_is_replaced(unlimited):
    with Load(unlimited, clients=2) as load:
        time.sleep(2)
        kubectl("-n", unlimited.space, "delete", "pod", "meshgate-redis-0", "--wait")
        kubectl("-n", unlimited.space, "rollout", "status", "statefulset/meshgate-redis", "--timeout=120s")
        time.sleep(2)
    assert load.failures() == [] and len(load.answers) > 5
    until("Redis is used again", lambda: "✓ redis" in unlimited.inside("meshgate", "doctor", check=False), 60)


def test_jobs_survive_the_deletion_of_their_pods(unlimited):
    jobs = Jobs(unlimited.ask)
    slow = grid(350)
    paths = [jobs.submit("fbx", slow + f"# {number}\n".encode()) for number in range(4)]
    jobs.has_begun(paths[0])
    for pods in ("app.kubernetes.io/component=server", "app.kubernetes.io/component=redis-jobs"):
        kubectl("-n", unlimited.space, "delete", "pod", "-l", pods, "--grace-period=0", "--force")
    unlimited.rolled_out()
    kubectl("-n", unlimited.space, "rollout", "status", "statefulset/meshgate-redis-jobs", "--timeout=120s")
    unlimited.is_served()
    assert all(b"Kaydara FBX" in jobs.result(path)[:32] for path in paths)


def test_an_out_of_memory_conversion_fails_alone(unlimited):
    unlimited.inside("/opt/meshgate/engine/bin/python", "-c", MAKE_EATER)
    eater = base64.b64decode(unlimited.inside("base64", "/tmp/eater.blend"))
    answer = unlimited.convert("glb", eater, "eater.blend")
    assert (answer.status, answer.problem()["code"]) == (422, "memory_limit")
    assert unlimited.restarts() == 0
    unlimited.converts()


def test_an_upgrade_adds_api_keys_and_rollback_removes_them(unlimited):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
              "stringData": {"api-keys": "studio:s3cret-key-of-the-studio\n"}}  # fmt: skip
    apply(unlimited.space, secret)
    password = get(unlimited.space, "secret", "meshgate-redis")[0]["data"]["redis-password"]
    with Load(unlimited, clients=1) as load:
        unlimited.put("upgrade", "apiKeys.existingSecret=keys")
    silence = load.longest_silence()
    assert "s3cret-key" not in unlimited.helm("get", "notes").stdout
    assert unlimited.convert("fbx", triangle(), "a.obj").status == 401
    answer = unlimited.convert("fbx", triangle(), "a.obj", X_Api_Key="s3cret-key-of-the-studio")
    assert answer.status == 200, answer
    unlimited.helm("test")
    unlimited.helm("rollback", "--wait", "--timeout", "300s")
    unlimited.is_served()
    unlimited.converts()
    assert get(unlimited.space, "secret", "meshgate-redis")[0]["data"]["redis-password"] == password
    print(f"\nno answer for {silence:.1f} s while the only pod was replaced")


def test_helm_3_upgrades_its_own_release(models):
    other = Release(models, host="three.test", name="three-meshgate", version="helm3", values=[
        "ingress.hosts[0].host=three.test", "workers=1", "workerMemoryLimit=1536Mi",
        "resources.requests.memory=512Mi", "persistence.enabled=false", "config.RATE_LIMIT_REQUESTS=0",
    ])  # fmt: skip
    other.put("install")
    other.converts()
    other.put("upgrade", "config.LOG_LEVEL=debug")
    other.converts()
    other.helm("uninstall", "--wait")


def test_uninstalling_leaves_only_the_claims(release):
    found = release.left_by_uninstalling()
    # The other release had the same namespace, and no claim for its results.
    claims = {"meshgate", "data-meshgate-redis-jobs-0", "data-three-meshgate-redis-jobs-0"}
    assert found - {"secret/keys"} == {f"persistentvolumeclaim/{claim}" for claim in claims}, found
