"""Three pods with a bucket share results and jobs, and are replaced while clients convert."""

import concurrent.futures
import functools
import time

import pytest
from cluster import Load, Release, kubectl
from event_stream import EventStream, without_progress
from kit import Jobs, ask, grid, triangle, until

# How long a stopping pod lets its conversions run, after the delay for the ingress to notice.
SHUTDOWN = ["shutdown.delay=5", "shutdown.grace=30"]


@pytest.fixture(scope="module")
def release(models, store):
    release = Release(models, values=[
        "replicaCount=3", "workers=1", "workerMemoryLimit=1536Mi", "resources.requests.memory=384Mi",
        "resources.requests.cpu=50m", "config.RATE_LIMIT_REQUESTS=0", *store.of(models), *SHUTDOWN,
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


def follow(release: Release, path: str, **headers: str) -> list[EventStream]:
    """Streams of a job's events: one from each pod, and several through the ingress."""
    direct = [EventStream(5000, path, pod["status"]["podIP"], **headers) for pod in release.pods()]
    return direct + [release.follow(path, **headers) for _ in range(6)]


def test_all_pods_pass_on_the_events_of_a_job(release):
    # One of the pods runs it; the others have its events, too.
    streams = follow(release, Jobs(release.ask).submit("fbx", grid(450)))
    events = streams[0].rest()
    states = [event.state for event in events]
    assert states[0] == "queued" and "running" in states and states[-2:] == ["succeeded", "succeeded"], states
    for stream in streams[1:]:
        assert without_progress(stream.rest()) == without_progress(events)


@pytest.mark.skip(reason="it failed on a busy cluster, and the cause is not known yet")
def test_the_ingress_passes_each_event_before_the_next_one_happens(release):
    jobs = Jobs(release.ask)
    slow = grid(450)
    # Three pods run three jobs at a time, each for a second or more, so the last one waits for some.
    *others, path = [jobs.submit("fbx", slow + f"# {number}\n".encode()) for number in range(12)]
    streams = follow(release, path)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        poll = pool.submit(release.ask, path, Prefer="wait=60")
        first = [stream.next() for stream in streams]
        assert {event.state for event in first} == {"queued"} and len({event.id for event in first}) == 1, first
        assert jobs.state(path) == "queued" and not poll.done()
        assert release.ask(f"{path}/cancel", b"").status == 202
        rest = streams[0].rest()
        assert [(event.name, event.state) for event in rest] == [("state", "cancelled"), ("end", "cancelled")], rest
        assert all(stream.rest() == rest for stream in streams[1:])
        answer = poll.result()
    assert (answer.json()["state"], answer.header("preference-applied")) == ("cancelled", "wait=60")
    assert all(stream.rest() == rest for stream in follow(release, path, Last_Event_ID=str(first[0].id)))
    through_ingress = streams[-1]
    assert through_ingress.header("content-type") == "text/event-stream"
    assert through_ingress.header("cache-control") == "no-store" and through_ingress.header("x-accel-buffering") is None
    for other in others:
        release.ask(f"{other}/cancel", b"")


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
