"""Events of jobs and long polls through nginx. The tests of this file depend on their order.

The servers run no jobs: a job can only change when a test cancels it, or starts a worker.
"""

import concurrent.futures
import contextlib
import functools
import http.client
import itertools
import json
import re

import pytest
from event_stream import Event, EventStream, without_progress
from kit import ROOT, Answer, Jobs, Stack, ask, grid, run, triangle, until
from test_2_production import address

PORT = 18084
# As `worker` has the environment of `api`, compose cannot set this with a variable.
GATEWAYS = """
services:
  api:
    environment:
      GUNICORN_WORKERS: "0"
      RATE_LIMIT_REQUESTS: "0"
"""
# How often the server sends a comment; docs/API.md says so.
KEEP_ALIVE = 15


@pytest.fixture(scope="module")
def gateways(tree, image):
    (tree / "secrets").mkdir(exist_ok=True)
    (tree / "secrets/redis_password").write_text("0123456789abcdef\n")
    (tree / "gateways.yml").write_text(GATEWAYS)
    variables = {"HTTP_PORT": str(PORT), "WORKER_MEMORY_LIMIT": "2G"}
    stack = Stack(tree, "meshgate-test-events", ["docker-compose.prod.yml", "gateways.yml"], variables)
    stack.compose("up -d --no-build --wait nginx")
    yield stack
    stack.compose("down --volumes --timeout 5", check=False)


@pytest.fixture(scope="module")
def jobs(gateways) -> Jobs:
    return Jobs(functools.partial(ask, PORT))


def cancel(path: str) -> None:
    answer = ask(PORT, f"{path}/cancel", b"")
    assert answer.status == 202, answer


def poll(path: str, seconds: int) -> Answer:
    """Asks for a job, and lets the server wait for its end."""
    return ask(PORT, path, Prefer=f"wait={seconds}")


def test_nginx_passes_each_event_before_the_next_one_happens(jobs):
    path = jobs.submit("fbx", triangle())
    # nginx compresses text, but not streams.
    with EventStream(PORT, path, Accept_Encoding="gzip") as stream:
        assert stream.header("content-type") == "text/event-stream" and stream.header("content-encoding") is None
        assert stream.header("cache-control") == "no-store" and stream.header("transfer-encoding") == "chunked"
        # nginx obeys this header of the server, and removes it.
        assert stream.header("x-accel-buffering") is None
        assert stream.header("server") == "nginx" and stream.header("x-content-type-options") == "nosniff"
        first = stream.next()
        assert (first.name, first.state, first.data["attempt"]) == ("state", "queued", 0)
        assert jobs.state(path) == "queued"
        cancel(path)
        second, end = stream.next(), stream.next()
        assert (second.name, second.state) == ("state", "cancelled") and second.id > first.id
        assert (end.name, end.state, end.data["links"]["self"]) == ("end", "cancelled", path) and end.id is None
        assert stream.next() is None, "the server closes the stream"


def test_a_long_poll_ends_when_its_job_does(jobs):
    path = jobs.submit("fbx", triangle())
    early = poll(path, 1)
    assert (early.status, early.json()["state"], early.header("preference-applied")) == (200, "queued", "wait=1")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(poll, path, 60)
        # Another poll ends earlier.
        assert poll(path, 1).json()["state"] == "queued" and not waiting.done()
        cancel(path)
        late = waiting.result()
    assert (late.status, late.json()["state"], late.header("preference-applied")) == (200, "cancelled", "wait=60")


def test_nginx_keeps_silent_streams_and_polls_open(jobs):
    text = (ROOT / "nginx/nginx.conf").read_text()
    patience = int(re.search(r"/events\$ \{[^}]*proxy_read_timeout (\d+)s;", text)[1])
    path = jobs.submit("fbx", triangle())
    with concurrent.futures.ThreadPoolExecutor() as pool, EventStream(PORT, path) as stream:
        assert stream.next().state == "queued"
        waiting = pool.submit(poll, path, 60)
        # Without comments, nginx would give up before the last one.
        for number in range(patience // KEEP_ALIVE + 1):
            stream.comment()
            assert number > 0 or not waiting.done()
        silent = waiting.result()
        assert (silent.status, silent.json()["state"]) == (200, "queued"), silent
        assert silent.header("preference-applied") == "wait=60" and silent.header("retry-after")
        cancel(path)
        assert [event.state for event in stream.rest()] == ["cancelled", "cancelled"]


def resumed(path: str, last: Event, **headers: str) -> EventStream:
    """Follows a job from its event `last` on. Repeats the request while nginx finds no server."""
    open_stream = functools.partial(EventStream, PORT, path, Last_Event_ID=str(last.id), **headers)
    return until("the stream is resumed", open_stream)


def scale(stack: Stack, service: str, number: int) -> None:
    stack.compose(f"up -d --no-build --no-recreate --no-deps --scale {service}={number} --wait {service}", timeout=300)


def test_a_stream_of_a_killed_server_goes_on_at_another_one(gateways, jobs):
    path = jobs.submit("fbx", triangle())
    with EventStream(PORT, path) as stream:
        queued = stream.next()
        assert queued.state == "queued"
        scale(gateways, "api", 2)
        run("docker", "kill", gateways.container("api", 1))
        with pytest.raises((OSError, http.client.HTTPException)):
            stream.rest()
    with resumed(path, queued) as stream:
        cancel(path)
        events = stream.rest()
        assert [event.name for event in events] == ["state", "end"], events
        state, end = events
        assert state.state == end.state == "cancelled" and state.id > queued.id and end.id is None, events


numbers = itertools.count(1)


def servers_of_streams(stack: Stack) -> set[str]:
    """The containers that have served the streams of `follow`, as nginx has logged when these ended."""
    lines = stack.compose("logs --no-log-prefix nginx").stdout.splitlines()
    return {json.loads(line)["upstream"] for line in lines if '"request_id":"follow-' in line}


def follow(path: str) -> EventStream:
    return EventStream(PORT, path, X_Request_Id=f"follow-{next(numbers)}")


@contextlib.contextmanager
def paused(container: str):
    """Stops the processes of a container meanwhile."""
    run("docker", "pause", container)
    try:
        yield
    finally:
        run("docker", "unpause", container)


def test_all_servers_pass_on_the_events_of_a_worker(gateways, jobs):
    scale(gateways, "api", 2)
    scale(gateways, "worker", 1)
    worker = gateways.container("worker")
    hosts = [address(gateways, index) for index in (1, 2)]
    with contextlib.ExitStack() as stack:
        with paused(worker):
            path = jobs.submit("fbx", grid(700))
            streams = [stack.enter_context(follow(path)) for _ in range(6)]
            streams += [stack.enter_context(EventStream(5000, path, host)) for host in hosts]
            first = streams[0]
            events = [first.next()]
            assert events[0].state == jobs.state(path) == "queued"
        events.append(first.next())
        assert events[-1].state == "running"
        # The conversion takes seconds. A worker that is silent for longer loses the job, which waits until it is back.
        with paused(worker):
            while events[-1].state == "running":
                events.append(first.next())
            assert (events[-1].state, events[-1].data.get("reason")) == ("queued", "worker_lost"), events
            assert jobs.state(path) == "queued"
        events += first.rest()
        histories = [events, *(stream.rest() for stream in streams[1:])]
    for history in histories:
        check(history)
        assert without_progress(history) == without_progress(events)
    for at, event in enumerate(events[:-1]):
        with resumed(path, event) as stream:
            rest = stream.rest()
        assert without_progress(rest) == without_progress(events[at + 1 :]), event
        # Clients get each event once; only the end comes again.
        assert all(later.name == "end" or later.id > event.id for later in rest), (event, rest)

    def both_were_asked():
        with follow(path) as stream:
            assert without_progress(stream.rest()) == without_progress(events)
        return servers_of_streams(gateways) >= {f"{host}:5000" for host in hosts}

    until("nginx has asked both", both_were_asked)
    assert b"Kaydara FBX" in jobs.result(path)[:32]


def check(events: list[Event]) -> None:
    """Checks the events of a job that succeeded in its second attempt."""
    *changes, end = events
    ids = [event.id for event in events[:-1]]
    assert ids == sorted(set(ids)) and end.id is None, (ids, end)
    assert (end.name, end.state, end.data["attempts"]) == ("end", "succeeded", 2), end
    steps = [(event.state, event.data["attempt"]) for event in changes if event.name == "state"]
    assert steps == [("queued", 0), ("running", 1), ("queued", 1), ("running", 2), ("succeeded", 2)], steps
    assert all(event.state == "running" for event in changes if event.name == "progress"), changes
