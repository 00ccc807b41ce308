"""Broken installations: the operator sees what to fix."""

import json
from pathlib import Path

import pytest
from cluster import Release, apply, get, namespace
from kit import triangle, until

SPACE = "mistakes"
# A small pod that starts quickly and stores nothing.
SMALL = [
    "persistence.enabled=false", "redis.enabled=false", "redisJobs.enabled=false",
    "workers=1", "workerMemoryLimit=1536Mi", "resources.requests.memory=256Mi", "resources.requests.cpu=20m",
]  # fmt: skip


@pytest.fixture(scope="module")
def space():
    with namespace(SPACE):
        yield SPACE


@pytest.fixture
def mistaken(space):
    """Installs the chart with a mistake, without waiting until it is ready."""
    releases = []

    def install(name: str, *values: str) -> tuple[Release, str]:
        named = [f"fullnameOverride={name}", f"ingress.hosts[0].host={name}.test"]
        release = Release(space, host=f"{name}.test", name=name, values=[*SMALL, *named])
        releases.append(release)
        return release, release.put("install", *values, wait=False)

    yield install
    for release in releases:
        release.helm("uninstall")


def warned(name: str, sentence: str) -> None:
    """Waits for a Kubernetes event with `sentence` about an object whose name starts with `name`."""

    def there() -> bool:
        events = get(SPACE, "events")
        of_it = [event["message"] for event in events if event["involvedObject"]["name"].startswith(name)]
        return any(sentence in message for message in of_it)

    until(f"{sentence!r} about {name}", there, 60)


def test_a_missing_image_is_reported(mistaken):
    _, notes = mistaken("unknown-image", "image.tag=none")
    assert "describe pod -l app.kubernetes.io/instance=unknown-image" in notes
    warned("unknown-image", 'Failed to pull image "meshgate:none"')


def test_an_unknown_storage_class_is_reported(mistaken):
    mistaken("no-claim", "persistence.enabled=true", "persistence.storageClass=nowhere")
    warned("no-claim", 'storageclass.storage.k8s.io "nowhere" not found')
    warned("no-claim", "unbound immediate PersistentVolumeClaims")


def test_insufficient_memory_is_reported(mistaken):
    mistaken("too-large", "resources.requests.memory=900Gi", "resources.limits.memory=900Gi")
    warned("too-large", "Insufficient memory")


def test_an_unknown_ingress_class_is_reported(mistaken):
    release, notes = mistaken("no-class", "ingress.className=nowhere")
    assert "none: no controller has class nowhere" in notes
    release.rolled_out()
    [ingress] = get(SPACE, "ingress", "no-class")
    assert not ingress["status"].get("loadBalancer"), ingress["status"]
    # The server is healthy, but no ingress routes to it.
    assert release.ask("/livez").status == 404


def test_a_wrong_redis_password_is_logged(mistaken):
    right, _ = mistaken("right", "redis.enabled=true", "networkPolicy.enabled=false")
    right.rolled_out()
    apply(SPACE, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wrong"},
                  "stringData": {"redis-password": "wrong"}})  # fmt: skip
    release, _ = mistaken("wrong-password", "externalRedis.host=right-redis", "externalRedis.existingSecret=wrong")
    release.rolled_out()
    until("the log says it", lambda: "does not let this user in with this password" in release.said(), 60)
    release.is_served()
    # The server continues without Redis.
    assert release.convert("fbx", triangle(), "a.obj").status == 200


# The seccomp profile folder of the test cluster's kubelet.
PROFILES = Path("/var/lib/meshgate-cluster/kubelet/seccomp")
WITHOUT_LANDLOCK = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["landlock_create_ruleset"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
}


def test_a_node_without_landlock_keeps_the_pod_unready(mistaken):
    if not PROFILES.parent.is_dir():
        pytest.skip("the node's folder for profiles of seccomp is not known")
    PROFILES.mkdir(exist_ok=True)
    (PROFILES / "no-landlock.json").write_text(json.dumps(WITHOUT_LANDLOCK))
    profile = "podSecurityContext.seccompProfile"
    release, _ = mistaken("no-landlock", "config.SANDBOX=require", f"{profile}.type=Localhost",
                          f"{profile}.localhostProfile=no-landlock.json")  # fmt: skip
    until("the log says it", lambda: "the sandbox is required, and this machine lacks landlock" in release.said(), 60)
    [pod] = release.pods()
    assert not pod["status"]["containerStatuses"][0]["ready"]
