"""Heavy jobs as Kubernetes Jobs: how each of their ends reaches the client, and what an operator reads of a mistake.

A pod of such a job requests one processor, and the node may have two: the tests run one of them at a time.
"""

import base64
import json
import time
from collections.abc import Callable

import pytest
from cluster import Load, Release, api_server_away, apply, get, kubectl, metrics
from event_stream import Event, EventStream
from kit import MAKE_EATER, Jobs, grid, triangle, until

pytestmark = pytest.mark.skip(reason="these tests have not been run on a cluster yet")

MIB = 1 << 20
# The smallest pod has 1600 MiB for the conversion; the largest one, which a second attempt gets, 2560 MiB.
LARGEST_POD = "3584Mi"
# Workers have 2 GiB for a conversion.
VALUES = [
    "mode=distributed", "gateway.replicas=1", "worker.replicas=1", "workers=1", "workerMemoryLimit=2Gi",
    "gateway.resources.requests.cpu=20m", "worker.resources.requests.cpu=50m",
    "worker.resources.requests.memory=384Mi", "worker.shutdownGrace=5", "config.RATE_LIMIT_REQUESTS=0",
    "kubernetesJobs.mode=auto", "kubernetesJobs.minSize=1Mi", f"kubernetesJobs.memory.max={LARGEST_POD}",
    "kubernetesJobs.pendingTimeout=60",
]  # fmt: skip
SOON = "kubernetesJobs.pendingTimeout=10"
NOWHERE = "kubernetesJobs.nodeSelector.nowhere=here"
# Stages of a job whose pod is at work.
AT_WORK = {"importing", "processing", "exporting", "packing"}
# How long a cancelled job's pod may be there, in seconds: five are the goal; the rest is for a busy machine.
GONE_WITHIN = 15

# A grid that follows a moving bone: each frame takes 1.7 ms to convert, and no memory.
MAKE_MOVING = """
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.object.armature_add()
bones = bpy.context.object
bpy.ops.mesh.primitive_grid_add(x_subdivisions=150, y_subdivisions=150)
mesh = bpy.context.object
mesh.vertex_groups.new(name='Bone').add(range(len(mesh.data.vertices)), 1, 'REPLACE')
mesh.modifiers.new('a', 'ARMATURE').object = bones
bone = bones.pose.bones[0]
for frame in (1, FRAMES):
    bone.location.x = frame / FRAMES
    bone.keyframe_insert('location', frame=frame)
bpy.context.scene.frame_end = FRAMES
bpy.ops.wm.save_as_mainfile(filepath='/tmp/moving.blend')
"""
# 1.2 million triangles in a small file, of which nobody sees that: more than 1600 MiB, less than 2048.
MAKE_CUBES = """
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_cube_add()
for count in (100, 100, 10): bpy.context.object.modifiers.new('a', 'ARRAY').count = count
bpy.ops.wm.save_as_mainfile(filepath='/tmp/cubes.blend')
"""


@pytest.fixture(scope="module")
def configured(models, store) -> Callable[..., Release]:
    """The release with the given values besides the usual ones; upgrades it if it has others."""
    # The API server of this cluster may have a port of its own.
    [slices] = get("default", "endpointslices", selector="kubernetes.io/service-name=kubernetes")
    port = slices["ports"][0]["port"]
    release = Release(models, values=[*VALUES, f"networkPolicy.egressPorts={{{port}}}", *store.of(models)])
    current = None

    def configured(*values: str) -> Release:
        nonlocal current
        if values != current:
            release.put("upgrade" if current is not None else "install", *values)
            current = values
        return release

    return configured


@pytest.fixture
def release(configured) -> Release:
    return configured()


@pytest.fixture
def impatient(configured) -> Release:
    """The release with little time for a pod to find a place."""
    return configured(SOON)


@pytest.fixture
def without_nodes(configured) -> Release:
    """The release with pods that no node takes."""
    return configured(SOON, NOWHERE)


def made(release: Release, script: str, name: str) -> bytes:
    """A model that a script of Blender makes."""
    release.inside("/opt/meshgate/engine/bin/python", "-c", script, role="worker")
    model = base64.b64decode(release.inside("base64", f"/tmp/{name}", role="worker"))
    release.inside("rm", f"/tmp/{name}", role="worker")
    return model


@pytest.fixture(scope="module")
def slow(configured) -> bytes:
    """Converts for half a minute."""
    return made(configured(), MAKE_MOVING.replace("FRAMES", "15000"), "moving.blend")


def padded(size: int) -> bytes:
    """An OBJ of about this size. By that, each 60 bytes may be a triangle, which needs 1500 bytes of memory."""
    line = b"# " + b"." * 97 + b"\n"
    return triangle() + line * (size // len(line))


@pytest.fixture(scope="module")
def large() -> bytes:
    """Needs more memory than a worker has, by its size, and less than the largest pod."""
    return padded(22 * MIB)


def submit(release: Release, model: bytes, name: str = "a.blend", target: str = "glb", **query: str) -> str:
    """The path of a new job with its own pod."""
    return release.submit(target, model, name, **({"executor": "kubernetes"} | query))


def objects(release: Release, kind: str, path: str) -> list[dict]:
    """The Jobs or pods of a job."""
    return get(release.space, kind, selector=f"meshgate.dev/job={path.rsplit('/', 1)[1]}")


def only_job(release: Release, path: str) -> dict:
    [job] = objects(release, "jobs", path)
    return job


def until_stage(stream: EventStream, stages: set[str]) -> Event:
    """Reads events until the job is in one of these stages."""

    def stage(event: Event) -> str:
        return (event.data.get("progress") or {}).get("stage", "")

    return next(event for event in iter(stream.next, None) if stage(event) in stages)


def until_queued_again(stream: EventStream) -> str:
    """Reads events until one says that the job is queued again; returns the reason."""
    return next(event.data["reason"] for event in iter(stream.next, None) if "reason" in event.data)


def ended(release: Release, path: str) -> dict:
    """Waits for the end of a job, and returns its record."""
    jobs = Jobs(release.ask)
    until("the job has ended", lambda: jobs.state(path) not in ("", "queued", "running"))
    return release.ask(path).json()


def succeeded(release: Release, path: str) -> dict:
    job = ended(release, path)
    assert job["state"] == "succeeded", job
    answer = release.ask(f"{path}/result")
    assert answer.status == 200 and answer.body.startswith(b"glTF"), answer.status
    return job


def reasons(release: Release, path: str) -> list[str]:
    """Why a job that has ended was queued again."""
    with release.follow(path) as stream:
        return [event.data["reason"] for event in stream.rest() if "reason" in event.data]


def gone(release: Release, path: str) -> None:
    until("the pod is gone", lambda: not objects(release, "pods", path))
    until("the Kubernetes Job is gone", lambda: not objects(release, "jobs", path))


def counted(release: Release, name: str) -> float:
    [worker] = release.pods("worker")
    return metrics(worker).get(name, 0)


def test_doctor_finds_all_rights(release):
    doctor = release.inside("meshgate", "doctor", role="worker", check=False)
    for right in ("create jobs", "delete jobs", "watch jobs", "watch pods", "list events"):
        assert f"✓ kubernetes {right}: allowed" in doctor, doctor


def test_a_heavy_model_runs_as_a_kubernetes_job(release):
    model = grid(220)
    assert len(model) > MIB
    # The same model in a worker, for its result.
    local = release.submit("glb", model, "a.obj", executor="local")
    succeeded(release, local)
    assert objects(release, "jobs", local) == []
    path = release.submit("glb", model, "a.obj")
    with release.follow(path) as stream:
        events = stream.rest()
    stages = {event.data["progress"]["stage"] for event in events if event.name == "progress"}
    assert "scheduling" in stages and stages & AT_WORK, stages
    assert events[-1].state == "succeeded", events[-1]
    job = succeeded(release, path)
    assert job["attempts"] == 1
    assert release.ask(f"{path}/result").body == release.ask(f"{local}/result").body
    started = "meshgate_kubernetes_job_start_seconds_count"
    until("its start is counted", lambda: counted(release, started) >= 1)


def test_objects_of_a_kubernetes_job(release):
    # The namespace enforces the level `restricted`, so a pod that runs keeps to it.
    path = submit(release, triangle(1), "a.obj")
    succeeded(release, path)
    job = until("the Job is complete", lambda: (found := only_job(release, path))["status"].get("succeeded") and found)
    name = path.rsplit("/", 1)[1]
    assert job["metadata"]["name"] == f"meshgate-{name.replace('-', '')}"
    labels = job["metadata"]["labels"]
    wanted = {"name": "meshgate", "instance": "meshgate", "component": "job"}
    assert {key: labels[f"app.kubernetes.io/{key}"] for key in wanted} == wanted
    [owner] = job["metadata"]["ownerReferences"]
    sets = get(release.space, owner["kind"].lower(), selector="app.kubernetes.io/component=worker")
    assert owner["uid"] in [each["metadata"]["uid"] for each in sets]
    spec = job["spec"]
    assert (spec["backoffLimit"], spec["podReplacementPolicy"], spec["ttlSecondsAfterFinished"]) == (2, "Failed", 3600)
    assert [rule["action"] for rule in spec["podFailurePolicy"]["rules"]] == ["Ignore", "FailJob"]
    [pod] = objects(release, "pods", path)
    assert pod["spec"]["automountServiceAccountToken"] is False and pod["status"]["qosClass"] == "Guaranteed"
    [status] = pod["status"]["containerStatuses"]
    assert status["state"]["terminated"]["exitCode"] == 0
    mounts = [mount["mountPath"] for each in pod["spec"]["containers"] for mount in each["volumeMounts"]]
    assert not [mount for mount in mounts if "serviceaccount" in mount]


def test_small_models_stay_in_workers(release):
    path = release.submit("glb", triangle(2), "a.obj")
    succeeded(release, path)
    assert objects(release, "jobs", path) == []


def memory(job: dict) -> str:
    [container] = job["spec"]["template"]["spec"]["containers"]
    return container["resources"]["limits"]["memory"]


def test_a_job_that_ran_out_of_memory_succeeds_in_a_larger_pod(release):
    path = submit(release, made(release, MAKE_CUBES, "cubes.blend"))
    job = succeeded(release, path)
    assert job["attempts"] == 2 and reasons(release, path) == ["out_of_memory"], job
    # The object of the first attempt was replaced.
    assert memory(only_job(release, path)) == LARGEST_POD


# Fills the memory of a pod. The kernel then kills the program first, as it does when a conversion fills it: among the
# processes of a container, it chooses by this number.
FILL_MEMORY = """
echo 1000 >/proc/$(cat /proc/1/task/1/children)/oom_score_adj
exec python3.11 -c "filled = [b'x' * (64 << 20) for _ in range(80)]"
"""


def test_a_pod_that_the_kernel_kills_is_followed_by_a_larger_one(release):
    path = submit(release, made(release, MAKE_MOVING.replace("FRAMES", "8000"), "moving.blend"))
    failures = 'meshgate_kubernetes_job_failures_total{reason="out_of_memory"}'
    before = counted(release, failures)
    with release.follow(path) as stream:
        until_stage(stream, AT_WORK)
        [pod] = objects(release, "pods", path)
        first = memory(only_job(release, path))
        name = pod["metadata"]["name"]
        kubectl("-n", release.space, "exec", name, "--", "sh", "-c", FILL_MEMORY, check=False)
        assert until_queued_again(stream) == "out_of_memory"
        assert stream.rest()[-1].state == "succeeded"
    # The pod could not say so: those who watch it did.
    assert counted(release, failures) == before + 1
    assert succeeded(release, path)["attempts"] == 2
    assert memory(only_job(release, path)) == LARGEST_POD != first


def test_a_job_that_never_fits_fails_with_memory_limit(release):
    path = submit(release, made(release, MAKE_EATER, "eater.blend"), "eater.blend")
    job = ended(release, path)
    assert (job["state"], job["error"]["code"], job["attempts"]) == ("failed", "memory_limit", 2), job
    assert reasons(release, path) == ["out_of_memory"]


def test_a_model_that_needs_more_than_the_largest_pod_is_refused(release):
    path = release.submit("glb", padded(45 * MIB), "a.obj")
    job = ended(release, path)
    assert (job["state"], job["error"]["code"], job["attempts"]) == ("failed", "memory_limit", 1), job
    assert "KUBERNETES_JOB_MEMORY_MAX" in job["error"]["detail"], job
    assert objects(release, "jobs", path) == []


def cancel(release: Release, path: str) -> None:
    """Cancels a job, and waits until its pod is gone."""
    began = time.monotonic()
    assert release.ask(f"{path}/cancel", b"").status == 202
    assert ended(release, path)["state"] == "cancelled"
    gone(release, path)
    took = time.monotonic() - began
    print(f"\nthe pod of a cancelled job was gone after {took:.1f} s")
    assert took < GONE_WITHIN


def test_cancelling_removes_a_pod_at_work(release, slow):
    path = submit(release, slow)
    with release.follow(path) as stream:
        until_stage(stream, AT_WORK)
        cancel(release, path)
        assert [event.state for event in stream.rest()][-1] == "cancelled"


def workers(release: Release) -> list[str]:
    return [each["metadata"]["name"] for each in release.pods("worker")]


def test_a_new_worker_takes_up_the_job_that_runs(release, slow):
    path = submit(release, slow)
    with release.follow(path) as stream:
        until_stage(stream, AT_WORK)
        before = only_job(release, path)["metadata"]["uid"]
        [pod] = objects(release, "pods", path)
        [name] = workers(release)
        kubectl("-n", release.space, "delete", "pod", name, "--grace-period=0", "--force")
        until("another worker is there", lambda: (now := workers(release)) and name not in now)
        release.rolled_out(role="worker")
        assert Jobs(release.ask).state(path) == "running", "the conversion was too short for this test"
        until("it follows the job", lambda: counted(release, 'meshgate_kubernetes_jobs{state="running"}') == 1)
        assert stream.rest()[-1].state == "succeeded"
    job = succeeded(release, path)
    assert job["attempts"] == 1 and reasons(release, path) == []
    assert only_job(release, path)["metadata"]["uid"] == before
    assert [each["metadata"]["uid"] for each in objects(release, "pods", path)] == [pod["metadata"]["uid"]]


def test_a_job_runs_again_whose_kubernetes_job_was_deleted(release):
    path = submit(release, made(release, MAKE_MOVING.replace("FRAMES", "6000"), "moving.blend"))
    with release.follow(path) as stream:
        until_stage(stream, AT_WORK)
        job = only_job(release, path)["metadata"]
        kubectl("-n", release.space, "delete", "job", job["name"], "--wait=false")
        # Its pod has the time to give it back, or those who watch it notice that it is gone.
        assert until_queued_again(stream) in ("stopping", "worker_lost")
        assert stream.rest()[-1].state == "succeeded"
    succeeded(release, path)
    assert only_job(release, path)["metadata"]["uid"] != job["uid"]


def test_nothing_is_lost_while_the_api_server_is_away(release, slow):
    running = submit(release, slow)
    with release.follow(running) as stream:
        until_stage(stream, AT_WORK)
    with api_server_away():
        waiting = submit(release, triangle(3), "a.obj")
        with Load(release, clients=1) as load:
            time.sleep(20)
        # Light work goes on, and heavy jobs wait.
        assert load.failures() == [] and len(load.answers) > 5
        assert Jobs(release.ask).state(waiting) in ("queued", "running")
    assert succeeded(release, running)["attempts"] == 1
    assert reasons(release, running) == []
    succeeded(release, waiting)
    # It did not go to a worker instead.
    assert "unschedulable" not in reasons(release, waiting)
    assert len(objects(release, "jobs", running)) == len(objects(release, "jobs", waiting)) == 1
    until("the worker knows all of them", lambda: counted(release, 'meshgate_kubernetes_jobs{state="running"}') == 0)


def is_unschedulable(release: Release, path: str) -> bool:
    found = objects(release, "pods", path)
    conditions = [condition for pod in found for condition in pod["status"].get("conditions", [])]
    return any(condition.get("reason") == "Unschedulable" for condition in conditions)


def test_cancelling_removes_a_pod_that_waits(without_nodes, large):
    path = submit(without_nodes, large, "a.obj")
    until("its pod waits for a node", lambda: is_unschedulable(without_nodes, path))
    record = without_nodes.ask(path).json()
    assert (record["state"], record["progress"]["stage"]) == ("running", "scheduling"), record
    cancel(without_nodes, path)


def test_a_job_without_a_node_goes_to_a_worker_if_it_fits_there(without_nodes):
    path = submit(without_nodes, triangle(4), "a.obj")
    succeeded(without_nodes, path)
    assert reasons(without_nodes, path) == ["unschedulable"]
    gone(without_nodes, path)


def test_a_job_without_a_node_fails_if_it_fits_nowhere(without_nodes, large):
    path = submit(without_nodes, large, "a.obj")
    job = ended(without_nodes, path)
    assert (job["state"], job["error"]["code"]) == ("failed", "no_capacity"), job
    assert "no node has room for the pod" in job["error"]["detail"], job
    gone(without_nodes, path)


@pytest.mark.parametrize("resource", ["count/jobs.batch", "pods"])
def test_a_used_up_quota_is_no_capacity(impatient, large, resource):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
             "spec": {"hard": {resource: "0"}}}  # fmt: skip
    apply(impatient.space, quota)
    try:
        # It applies once Kubernetes has counted what is there.
        until("the quota applies", lambda: get(impatient.space, "quota", "none")[0].get("status", {}).get("hard"))
        path = submit(impatient, large, "a.obj")
        job = ended(impatient, path)
        assert (job["state"], job["error"]["code"]) == ("failed", "no_capacity"), job
        assert "quota" in job["error"]["detail"], job
        gone(impatient, path)
    finally:
        kubectl("-n", impatient.space, "delete", "quota", "none")
    succeeded(impatient, submit(impatient, triangle(5), "a.obj"))


def test_a_missing_role_is_named_by_the_job_and_by_doctor(release, large):
    [role] = get(release.space, "role", "meshgate-worker")
    kubectl("-n", release.space, "delete", "role", "meshgate-worker")
    try:
        doctor = release.inside("meshgate", "doctor", role="worker", check=False)
        assert "✗ kubernetes create jobs: not allowed" in doctor, doctor
        path = submit(release, large, "a.obj")
        job = ended(release, path)
        assert (job["state"], job["error"]["code"]) == ("failed", "engine_unavailable"), job
        assert "no Role allows it" in job["error"]["detail"] and "create jobs" in job["error"]["detail"], job
        assert "no Kubernetes Job can be created" in release.said("worker")
        # A worker has the memory for this one.
        small = submit(release, triangle(6), "a.obj")
        succeeded(release, small)
        assert reasons(release, small) == ["unschedulable"]
    finally:
        about = {key: role["metadata"][key] for key in ("name", "labels", "annotations")}
        apply(release.space, {**role, "metadata": about})
    path = submit(release, triangle(7), "a.obj")
    succeeded(release, path)
    assert only_job(release, path)


def test_an_image_that_cannot_be_pulled_is_named(release):
    [template] = get(release.space, "configmap", "meshgate-job-template")
    text = template["data"]["pod-template.json"]
    pod = json.loads(text)
    pod["spec"]["containers"][0]["image"] = "meshgate:none"

    def use(text: str) -> None:
        patch = json.dumps({"data": {"pod-template.json": text}})
        kubectl("-n", release.space, "patch", "configmap", "meshgate-job-template", "--type=merge", "-p", patch)
        kubectl("-n", release.space, "rollout", "restart", release.deployment("worker"))
        release.rolled_out(role="worker")

    use(json.dumps(pod))
    path = submit(release, triangle(8), "a.obj")
    job = ended(release, path)
    assert (job["state"], job["error"]["code"]) == ("failed", "engine_unavailable"), job
    assert "cannot be pulled" in job["error"]["detail"] and "meshgate:none" in job["error"]["detail"], job
    gone(release, path)
    use(text)
    succeeded(release, submit(release, triangle(9), "a.obj"))


def test_uninstalling_removes_kubernetes_jobs_and_their_pods(release, slow):
    path = submit(release, slow)
    with release.follow(path) as stream:
        until_stage(stream, AT_WORK)
    found = release.left_by_uninstalling()
    assert found - {"secret/bucket"} == {"persistentvolumeclaim/data-meshgate-redis-jobs-0"}, found
