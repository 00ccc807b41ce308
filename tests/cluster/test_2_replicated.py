"""Three pods with a bucket share results and jobs, and are replaced while clients convert."""

import functools
import time
import urllib.request

import pytest
from cluster import Load, Release, apply, get, kubectl, namespace, pod
from kit import Jobs, ask, triangle, until

# How long a stopping pod lets its conversions run, after the delay for the ingress to notice.
SHUTDOWN = ["shutdown.delay=5", "shutdown.grace=30"]
KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "of-tests"}


@pytest.fixture(scope="module")
def store():
    """An S3 server with a bucket; its address."""
    with namespace("store"):
        apply("store", pod("moto", "meshgate-moto:test", labels={"app": "moto"}),
              {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "moto"},
               "spec": {"selector": {"app": "moto"}, "ports": [{"port": 5001}]}})  # fmt: skip
        kubectl("-n", "store", "wait", "--for=condition=Ready", "pod/moto", "--timeout=120s")
        address = get("store", "pod", "moto")[0]["status"]["podIP"]
        bucket = urllib.request.Request(f"http://{address}:5001/results", b"", method="PUT")
        until("there is a bucket", lambda: urllib.request.urlopen(bucket, timeout=10).status == 200, 60)
        yield "http://moto.store.svc.cluster.local:5001"


@pytest.fixture(scope="module")
def release(models, store):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bucket"}, "stringData": KEYS}
    apply(models, secret)
    release = Release(models, values=[
        "replicaCount=3", "workers=1", "workerMemoryLimit=1536Mi", "resources.requests.memory=384Mi",
        "resources.requests.cpu=50m", "storage.url=s3://results/meshgate", "storage.existingSecret=bucket",
        f"config.AWS_ENDPOINT_URL={store}", "config.AWS_REGION=eu-west-1", "config.AWS_ALLOW_HTTP=true",
        "config.RATE_LIMIT_REQUESTS=0", *SHUTDOWN,
    ])  # fmt: skip
    release.put("install")
    yield release
    release.helm("uninstall", "--wait")


def test_pods_share_results_and_reports(release):
    addresses = [pod["status"]["podIP"] for pod in release.pods()]
    assert len(addresses) == 3
    made = ask(5000, "/convert?output_format=fbx&filename=a.obj", triangle(1), host=addresses[0])
    assert made.status == 200 and made.header("meshgate-cache") == "miss", made
    report = made.header("link").split(">")[0].lstrip("<")
    reports = [ask(5000, report, host=address) for address in addresses]
    assert [answer.status for answer in reports] == [200] * 3
    assert len({answer.body for answer in reports}) == 1
    for address in addresses[1:]:
        again = ask(5000, "/convert?output_format=fbx&filename=a.obj", triangle(1), host=address)
        assert (again.status, again.header("meshgate-cache")) == (200, "hit"), again


def test_pods_share_jobs(release):
    addresses = [pod["status"]["podIP"] for pod in release.pods()]
    of_pods = [Jobs(functools.partial(ask, 5000, host=address)) for address in addresses]
    paths = [of_pods[0].submit("fbx", triangle(100 + number)) for number in range(6)]
    for path in paths:
        assert len({jobs.result(path) for jobs in of_pods}) == 1, path


def test_requests_succeed_while_all_pods_are_replaced(release):
    before = {pod["metadata"]["name"] for pod in release.pods()}
    with Load(release) as load:
        began = time.monotonic()
        time.sleep(5)
        release.put("upgrade", "config.LOG_LEVEL=debug")
        until("a minute", lambda: time.monotonic() - began > 60)
    assert before.isdisjoint(pod["metadata"]["name"] for pod in release.pods())
    assert load.failures() == []
    print(f"\n{len(load.answers)} conversions, none failed; no answer for {load.longest_silence():.1f} s at most")


def test_requests_succeed_while_a_pod_is_deleted(release):
    with Load(release) as load:
        time.sleep(5)
        gone = release.pods()[0]["metadata"]["name"]
        kubectl("-n", release.space, "delete", "pod", gone, "--wait")
        release.rolled_out()
        time.sleep(5)
    assert load.failures() == []
    print(f"\n{len(load.answers)} conversions, none failed")
