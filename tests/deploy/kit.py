"""Helpers of the image and compose tests: commands, requests and waiting."""

import concurrent.futures
import contextlib
import http.client
import itertools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "meshgate:test"
# Timeout in seconds for a busy machine. Compiling has its own.
LONG = 180
COMPILING = 3600
# The README's commands use docker-compose; without it, this function stands for the plugin.
SPELLING = "" if shutil.which("docker-compose") else 'docker-compose() { docker compose "$@"; }; '


def run(*command: str, check: bool = True, timeout: float = LONG, **options) -> subprocess.CompletedProcess:
    """Runs a command; errors include its output."""
    options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def until(what: str, reached, timeout: float = LONG):
    """Calls `reached` until it returns a true value, and returns that."""
    end = time.monotonic() + timeout
    while True:
        try:
            if found := reached():
                return found
        except (OSError, http.client.HTTPException):
            pass
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.1)


def free(port: int, other: int) -> int:
    """The README's port, or another one if that is taken."""
    with socket.socket() as probe:
        # Like Docker: a port that was just closed counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return other
    return port


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header, which must not occur twice."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) <= 1, f"{name} is there {len(found)} times: {found}"
        return found[0] if found else None

    def json(self):
        return json.loads(self.body)

    def problem(self) -> dict:
        """The problem document of an error response."""
        assert self.header("content-type") == "application/problem+json", self
        problem = self.json()
        assert problem["status"] == self.status and problem["error"] == problem["detail"], problem
        assert problem["request_id"] == self.header("x-request-id"), problem
        return problem


def ask(port: int, path: str, body: bytes | None = None, host: str = "127.0.0.1", **headers: str) -> Answer:
    """A request to this machine: GET without a body, POST with one."""
    connection = http.client.HTTPConnection(host, port, timeout=LONG)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET" if body is None else "POST", path, body, sent)
        answer = connection.getresponse()
        return Answer(answer.status, answer.getheaders(), answer.read())
    finally:
        connection.close()


@dataclass
class Jobs:
    """Jobs of a service; `ask` sends a request to it, like the function `ask` without its port."""

    ask: Callable[..., Answer]

    def submit(self, target: str, model: bytes) -> str:
        """The path of a new job for an OBJ. Repeats the request while Redis is away, as clients do.

        A service that has just been started may not have found Redis yet.
        """

        def accepted() -> Answer | None:
            answer = self.ask(f"/v1/jobs?output_format={target}&filename=a.obj", model)
            assert answer.status in (202, 503), answer
            return answer if answer.status == 202 else None

        return until("the job is accepted", accepted).header("location")

    def state(self, path: str) -> str:
        """The state of a job; empty while the service cannot tell it."""
        answer = self.ask(path)
        assert answer.status in (200, 429, 502, 503, 504), answer
        return answer.json()["state"] if answer.status == 200 else ""

    def has_begun(self, path: str) -> None:
        until("the job runs", lambda: self.state(path) not in ("", "queued"))

    def result(self, path: str) -> bytes:
        """Waits for the end of a job, and returns its result."""
        until("the job has ended", lambda: self.state(path) not in ("", "queued", "running"))
        job = self.ask(path).json()
        assert job["state"] == "succeeded", job
        answer = self.ask(f"{path}/result")
        assert answer.status == 200, answer
        return answer.body


def write_section(heading: str, text: str) -> None:
    """Replaces a section of docs/BENCHMARKS.md, or adds it at the end."""
    document = ROOT / "docs/BENCHMARKS.md"
    before, found, rest = document.read_text().partition(f"\n## {heading}\n")
    _, next_one, after = rest.partition("\n## ") if found else ("", "", "")
    section = f"\n## {heading}\n\n{text.strip()}\n"
    document.write_text(before.rstrip("\n") + "\n" + section + next_one + after)


def triangle(number: int = 0) -> bytes:
    """A minimal model; each number gives a different one."""
    return f"v 0 0 {number}\nv 1 0 0\nv 0 1 0\nf 1 2 3\n".encode()


def grid(side: int) -> bytes:
    """An OBJ that takes some seconds to convert."""
    points = "".join(f"v {x} {y} {x * y % 7}\n" for y in range(side) for x in range(side))
    lines = [
        f"f {corner} {corner + 1} {corner + side + 1} {corner + side}\n"
        for corner in (y * side + x + 1 for y in range(side - 1) for x in range(side - 1))
    ]
    return (points + "".join(lines)).encode()


# Makes /tmp/eater.blend: a billion cubes, in a few kilobytes.
MAKE_EATER = """
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_cube_add()
for _ in range(3): bpy.context.object.modifiers.new('a', 'ARRAY').count = 1000
bpy.ops.wm.save_as_mainfile(filepath='/tmp/eater.blend')
"""


MODELS = itertools.count(1)


def rate(host: str, port: int, clients: int, seconds: float, **headers: str) -> float:
    """Conversions per second of several clients, each of a different model."""
    end = time.monotonic() + seconds

    def client() -> int:
        done = 0
        while time.monotonic() < end:
            path = "/convert?output_format=fbx&filename=a.obj"
            answer = ask(port, path, triangle(next(MODELS)), host, **headers)
            assert answer.status == 200, answer
            done += 1
        return done

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        count = sum(each.result() for each in [pool.submit(client) for _ in range(clients)])
    return count / (time.monotonic() - began)


def inspect(name: str, template: str) -> str:
    return run("docker", "inspect", "--format", template, name).stdout.strip()


def kill(pid: str) -> None:
    """Kills a process, also one of another user or in a container."""
    run("docker", "run", "--rm", "--pid", "host", "--privileged", "--user", "0", "--entrypoint", "sh", IMAGE,
        "-c", f"kill -9 {pid}")  # fmt: skip


@dataclass
class Stack:
    """The services of compose files in a copy of the project, with their own project name."""

    folder: Path
    name: str
    files: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "COMPOSE_PROJECT_NAME": self.name, "MESHGATE_IMAGE": IMAGE, **self.variables}

    def shell(
        self, line: str, check: bool = True, timeout: float = LONG, folder: Path | None = None
    ) -> subprocess.CompletedProcess:
        """Runs a shell command line."""
        where = folder or self.folder
        return run("bash", "-euc", SPELLING + line, check=check, timeout=timeout, cwd=where, env=self.environment)

    @contextlib.contextmanager
    def meanwhile(self, line: str):
        """Runs a command line in the foreground; it must stop by itself."""
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(["bash", "-euc", SPELLING + line], cwd=self.folder, env=self.environment,
                                       stdin=subprocess.DEVNULL, stdout=said, stderr=said)  # fmt: skip
            try:
                yield process
                process.wait(LONG)
            finally:
                process.kill()
                process.wait()
                said.seek(0)
                print(said.read()[-20_000:])

    def compose(self, line: str, check: bool = True, timeout: float = LONG) -> subprocess.CompletedProcess:
        files = " ".join(f"-f {name}" for name in self.files)
        return self.shell(f"docker compose {files} {line}", check, timeout)

    def container(self, service: str, index: int = 1) -> str:
        return f"{self.name}-{service}-{index}"

    def started(self) -> dict[str, str]:
        """When each service's process was started."""
        names = self.compose("ps --all --format '{{.Name}}'").stdout.split()
        return {name: inspect(name, "{{.State.StartedAt}}") for name in names}

    def is_healthy(self, service: str, index: int = 1) -> bool:
        template = "{{.State.Status}} {{.State.Health.Status}}"
        return inspect(self.container(service, index), template) == "running healthy"


def convert_triangle(port: int, number: int = 0) -> Answer:
    return ask(port, "/convert?output_format=fbx&filename=a.obj", triangle(number))
