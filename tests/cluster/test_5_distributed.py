"""Gateways and workers apart: requests become jobs, and no job is lost while pods die, come, go and are replaced."""

import base64
import concurrent.futures
import http.client
import re
import struct
import time

import pytest
from cluster import (
    INGRESS_PORT,
    REACHES,
    READY,
    Load,
    Release,
    apply,
    get,
    image,
    kill,
    kubectl,
    metrics,
    motion,
    namespace,
    pod,
)
from event_stream import Event, EventStream
from kit import LONG, Jobs, ask, grid, triangle, until

pytestmark = pytest.mark.skip(reason="these tests have not been run on a cluster yet")

# Shorter than the conversion of `motion()`, so that a stopping worker gives its job back.
GRACE = 1
ROLES = ("gateway", "worker")
ENDS = ("succeeded", "failed", "cancelled", "expired")


@pytest.fixture(scope="module")
def release(models, store):
    release = Release(models, values=[
        "mode=distributed", "gateway.replicas=1", "worker.replicas=2", "workers=1", "workerMemoryLimit=2Gi",
        "gateway.resources.requests.cpu=20m", "worker.resources.requests.cpu=50m",
        "worker.resources.requests.memory=384Mi", f"worker.shutdownGrace={GRACE}", "shutdown.grace=30",
        "config.RATE_LIMIT_REQUESTS=0", *store.of(models),
    ])  # fmt: skip
    release.put("install")
    return release


def count(release: Release, name: str, role: str = "worker") -> float:
    """The sum of a metric over the pods of a role."""
    return sum(metrics(pod).get(name, 0) for pod in release.pods(role))


def busy_workers(release: Release) -> list[dict]:
    busy = 'meshgate_engine_slots{state="busy"}'
    return [pod for pod in release.pods("worker") if metrics(pod).get(busy) == 1]


def busy_worker(release: Release) -> dict:
    """Waits until one worker is at work, and returns its pod."""
    [pod] = until("one worker is at work", lambda: busy_workers(release))
    return pod


def until_running(stream: EventStream) -> Event:
    """Reads events until one says that the job runs."""
    return next(event for event in iter(stream.next, None) if event.state == "running")


def until_queued_again(stream: EventStream) -> str:
    """Reads events until one says that the job is queued again; returns the reason."""
    return next(event.data["reason"] for event in iter(stream.next, None) if "reason" in event.data)


def finished(release: Release, paths: list[str]) -> list[dict]:
    """Waits for the ends of jobs; all must succeed, and have results. Returns their records."""

    def records() -> list[dict] | None:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(release.ask, paths))
        # A job that is not there any more was lost. The ingress has no gateway for a moment if its only one dies.
        assert {answer.status for answer in answers} <= {200, 502, 503, 504}, answers
        found = [answer.json() for answer in answers if answer.status == 200]
        return found if len(found) == len(paths) and all(job["state"] in ENDS for job in found) else None

    jobs = until("all jobs have ended", records, 2 * LONG)
    assert [job for job in jobs if job["state"] != "succeeded"] == []
    for path in paths:
        assert b"Kaydara FBX" in release.ask(f"{path}/result").body[:32], path
    return jobs


def submit_many(release: Release, number: int, model: bytes) -> list[str]:
    jobs = Jobs(release.ask)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda one: jobs.submit("fbx", model + f"# {one}\n".encode()), range(number)))


def test_helm_test_passes(release):
    said = release.helm("test", "--logs").stdout
    assert "a triangle came back as a GLB of" in said, said
    for role in ROLES:
        doctor = release.inside("meshgate", "doctor", role=role, check=False)
        for line in ("✓ redis", "✓ jobs"):
            assert line in doctor, (role, doctor)


def test_gateways_answer_what_a_worker_converts(release):
    model = triangle(7)
    answer = release.convert("glb", model, "a.obj", Cache_Control="no-cache")
    assert answer.status == 200 and answer.body.startswith(b"glTF"), answer
    # The same conversion by hand, in a worker's pod, with nothing that they share.
    alone = 'env -i PATH="$PATH" HOME=/tmp CACHE=off DATA_DIR=/tmp/alone'
    command = (
        f"mkdir -p /tmp/alone && echo {base64.b64encode(model).decode()} | base64 -d >/tmp/alone/a.obj && "
        f"{alone} meshgate convert /tmp/alone/a.obj -o /tmp/alone --to glb >/dev/null && "
        "base64 -w 0 /tmp/alone/a.glb && rm -r /tmp/alone"
    )
    by_hand = base64.b64decode(release.inside("sh", "-c", command, role="worker"))
    assert answer.body == by_hand, (len(answer.body), len(by_hand))
    jobs = Jobs(release.ask)
    assert jobs.result(jobs.submit("glb", model)) == by_hand
    # That job is the only one that clients see.
    assert len(release.ask("/v1/jobs").json()["jobs"]) == 1


def test_errors_of_workers_reach_the_client(release):
    failed = 'meshgate_job_attempts_total{reason="failed"}'
    before = count(release, failed)
    model = b"Kaydara FBX Binary  \x00\x1a\x00" + struct.pack("<I", 7400) + b"\xff" * 300
    answer = release.convert("glb", model, "a.fbx", Cache_Control="no-cache")
    assert (answer.status, answer.problem()["code"]) == (422, "import_failed"), answer
    until("a worker has counted it", lambda: count(release, failed) == before + 1)


def test_a_hang_up_cancels_the_conversion(release):
    cancelled = 'meshgate_job_attempts_total{reason="cancelled"}'
    before = count(release, cancelled)
    connection = http.client.HTTPConnection("127.0.0.1", INGRESS_PORT, timeout=LONG)
    path = "/convert?output_format=fbx&filename=a.bvh"
    connection.request("POST", path, motion(1), {"Host": release.host, "Cache-Control": "no-cache"})
    busy_worker(release)
    connection.close()
    until("the worker has cancelled it", lambda: count(release, cancelled) == before + 1)
    until("no worker is busy", lambda: not busy_workers(release))


def test_events_of_a_job_pass_the_ingress_as_they_happen(release):
    path = release.submit("fbx", motion(2), "a.bvh")
    with release.follow(path) as stream:
        assert stream.header("content-type") == "text/event-stream"
        until_running(stream)
        # The ingress would have kept a small event until the end.
        assert Jobs(release.ask).state(path) == "running"
        events = stream.rest()
    assert [(event.name, event.state) for event in events][-2:] == [("state", "succeeded"), ("end", "succeeded")]
    assert any(event.name == "progress" for event in events), events
    finished(release, [path])


def test_probes_and_metrics_of_both_roles(release):
    for role in ROLES:
        for each in release.pods(role):
            address = each["status"]["podIP"]
            assert ask(9464, "/livez", host=address).status == 200
            ready = ask(9464, "/readyz", host=address)
            assert ready.status == 200, ready
            engine = ready.json()["checks"]["engine"]
            assert (engine == "none") == (role == "gateway"), (role, engine)
            found = metrics(each)
            assert found["meshgate_ready"] == 1 and found['meshgate_backend_up{backend="jobs"}'] == 1, found
            assert ('meshgate_engine_slots{state="free"}' in found) or role == "gateway", found
    for each in release.pods("worker"):
        with pytest.raises(OSError):
            ask(5000, "/livez", host=each["status"]["podIP"])
    assert release.ask("/metrics").status == 404
    # Prometheus finds the pods of both roles by one Service.
    slices = get(release.space, "endpointslices", selector="kubernetes.io/service-name=meshgate-metrics")
    found = {address for each in slices for end in each.get("endpoints") or [] for address in end["addresses"]}
    assert found == {each["status"]["podIP"] for role in ROLES for each in release.pods(role)}


def test_network_policies_separate_the_roles(release):
    [gateway] = release.pods("gateway")
    worker = release.pods("worker")[0]
    redis = [release.pods(name)[0] for name in ("redis", "redis-jobs")]
    to = {name: each["status"]["podIP"] for name, each in (("gateway", gateway), ("worker", worker))}
    targets = [(to["gateway"], 5000), (to["gateway"], 9464), (to["worker"], 9464)]
    targets += [(each["status"]["podIP"], 6379) for each in redis]

    def reached(space: str, name: str, host: str, port: int) -> bool:
        said = kubectl("-n", space, "exec", name, "--", "python3.11", "-c", REACHES, host, str(port))
        assert said.startswith(("reached", "not reached")), said
        return said == "reached\n"

    with namespace("strangers"):
        apply("strangers", pod("stranger", image(), "sleep", "600"),
              pod("listener", image(), "python3.11", "-m", "http.server", "8000", "--directory", "/etc"))  # fmt: skip
        kubectl("-n", "strangers", "wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
        listener = get("strangers", "pod", "listener")[0]["status"]["podIP"]
        assert reached("strangers", "stranger", listener, 8000)
        for host, port in targets:
            assert not reached("strangers", "stranger", host, port), (host, port)
        for own in (gateway, worker):
            assert not reached(release.space, own["metadata"]["name"], listener, 8000)
    for own, other, port in ((gateway, "worker", 9464), (worker, "gateway", 5000)):
        assert not reached(release.space, own["metadata"]["name"], to[other], port), other
    for own in (gateway, worker):
        for name in ("meshgate-redis", "meshgate-redis-jobs"):
            assert reached(release.space, own["metadata"]["name"], name, 6379), name


def test_a_job_whose_worker_dies_runs_again(release):
    path = release.submit("fbx", motion(3), "a.bvh")
    with release.follow(path) as stream:
        until_running(stream)
        kill(busy_worker(release), release.space)
        died = time.monotonic()
        assert until_queued_again(stream) == "worker_lost"
        until_running(stream)
        took = time.monotonic() - died
        end = stream.rest()[-1]
    assert (end.state, end.data["attempts"]) == ("succeeded", 2), end
    # A lease has 10 seconds, and its end is noticed within 2 more; the rest is for a busy machine.
    assert took < 40
    print(f"\nthe job of a killed worker ran again after {took:.1f} s")
    finished(release, [path])
    release.rolled_out(role="worker")


def test_a_deleted_worker_gives_its_job_back(release):
    path = release.submit("fbx", motion(4), "a.bvh")
    with release.follow(path) as stream:
        until_running(stream)
        worker = busy_worker(release)["metadata"]["name"]
        kubectl("-n", release.space, "delete", "pod", worker, "--wait=false")
        deleted = time.monotonic()
        # Nobody had to wait for the end of its lease, and the attempt does not count.
        assert until_queued_again(stream) == "stopping"
        until_running(stream)
        took = time.monotonic() - deleted
        end = stream.rest()[-1]
    assert (end.state, end.data["attempts"]) == ("succeeded", 1), end
    print(f"\nthe job of a deleted worker ran again after {took:.1f} s, {GRACE} s of them grace")
    finished(release, [path])
    release.rolled_out(role="worker")
    assert worker not in [each["metadata"]["name"] for each in release.pods("worker")]


def scale(release: Release, workers: int) -> None:
    release.put("upgrade", f"worker.replicas={workers}", wait=False)
    release.rolled_out(role="worker")
    until("there are as many workers", lambda: len(release.pods("worker")) == workers)


def test_no_job_is_lost_while_workers_come_and_go(release):
    scale(release, 1)
    model = grid(220)
    paths = submit_many(release, 50, model)
    scale(release, 3)
    paths += submit_many(release, 60, model + b"# more\n")
    scale(release, 1)
    assert Jobs(release.ask).state(paths[-1]) in ("queued", "running"), "the load was over before workers went"
    jobs = finished(release, paths)
    # Workers that go give jobs back, which costs no attempt.
    assert {job["attempts"] for job in jobs} == {1}
    scale(release, 2)


def uids(release: Release) -> set[str]:
    return {each["metadata"]["uid"] for role in (*ROLES, "redis-jobs") for each in release.pods(role)}


def restart(release: Release, *workloads: str) -> None:
    kubectl("-n", release.space, "rollout", "restart", *workloads)
    for workload in workloads:
        kubectl("-n", release.space, "rollout", "status", workload, f"--timeout={READY}")


def test_no_job_is_lost_while_all_pods_are_replaced(release):
    before = uids(release)
    # A job of each takes most of a second.
    paths = submit_many(release, 100, grid(170))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        workloads = [release.deployment(role) for role in ROLES] + [f"statefulset/{release.name}-redis-jobs"]
        restarting = pool.submit(restart, release, *workloads)
        time.sleep(1)
        assert Jobs(release.ask).state(paths[-1]) in ("", "queued")
        restarting.result()
    release.is_served()
    jobs = finished(release, paths)
    assert len({job["id"] for job in jobs}) == 100
    until("the old pods are gone", lambda: before.isdisjoint(uids(release)))
    print(f"\n100 jobs while all pods were replaced: {sum(job['attempts'] for job in jobs)} attempts")


def test_requests_succeed_while_gateways_and_workers_are_replaced(release):
    before = {each["metadata"]["uid"] for role in ROLES for each in release.pods(role)}
    with Load(release, clients=2) as load:
        time.sleep(3)
        release.put("upgrade", "podAnnotations.replaced=yes")
        time.sleep(3)
    after = {each["metadata"]["uid"] for role in ROLES for each in release.pods(role)}
    assert before.isdisjoint(after)
    assert load.failures() == [] and len(load.answers) > 10
    print(f"\n{len(load.answers)} conversions, none failed; no answer for {load.longest_silence():.1f} s at most")


def test_memory_of_each_pod(release):
    of_all = f"app.kubernetes.io/instance={release.name}"

    def top() -> dict[str, int]:
        lines = kubectl("-n", release.space, "top", "pod", "--no-headers", "-l", of_all, check=False).splitlines()
        return {line.split()[0]: int(re.search(r"(\d+)Mi", line)[1]) for line in lines}

    pods = {each["metadata"]["name"]: each for role in ROLES for each in release.pods(role)}
    # The kubelet measures at intervals.
    found = until("the kubelet has measured", lambda: (memory := top()).keys() >= pods.keys() and memory, 120)
    print("\n" + "\n".join(f"{name}: {mebibytes} MiB" for name, mebibytes in sorted(found.items())))
    gateways = [found[name] for name in pods if "-gateway-" in name]
    # A gateway has no Blender, which takes some 300 MiB.
    assert gateways and max(gateways) < 256


def test_uninstalling_leaves_only_the_claims(release):
    found = release.left_by_uninstalling()
    assert found - {"secret/bucket"} == {"persistentvolumeclaim/data-meshgate-redis-jobs-0"}, found
