"""Installation with `kubectl apply -k`, without Helm."""

import pytest
from cluster import Release, apply, kubectl, namespace
from kit import ROOT, Jobs, triangle, until


@pytest.fixture
def space():
    with namespace("plain", restricted=True):
        yield "plain"


def test_the_single_overlay_converts_a_model(space):
    for name in ("meshgate-redis", "meshgate-redis-jobs"):
        apply(space, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                      "stringData": {"redis-password": "of-tests"}})  # fmt: skip
    kubectl("-n", space, "apply", "-k", str(ROOT / "k8s/overlays/single"))
    release = Release(space)
    release.rolled_out()
    for name in ("meshgate-redis", "meshgate-redis-jobs"):
        kubectl("-n", space, "rollout", "status", f"statefulset/{name}", "--timeout=120s")
    release.is_served()
    answer = release.convert("glb", triangle(), "a.obj")
    assert answer.status == 200 and answer.body.startswith(b"glTF"), answer
    jobs = Jobs(release.ask)
    assert jobs.result(jobs.submit("glb", triangle(1))).startswith(b"glTF")
    until("Redis is used", lambda: "✓ redis" in release.inside("meshgate", "doctor", check=False), 60)
    kubectl("-n", space, "delete", "-k", str(ROOT / "k8s/overlays/single"))
