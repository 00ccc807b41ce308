"""The release binary in a cgroup like that of compose, and checks that hold after every attack."""

import base64
import contextlib
import http.client
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / (os.environ.get("MESHGATE_PROGRAM") or "target/release/meshgate")
# Timeout in seconds for a busy machine.
LONG = 120
# The limits of docker-compose.prod.yml for the server and its conversions together.
MEMORY = 9 << 30
PIDS = 512
# Memory that the server may keep after an attack, above its idle memory: 32 MiB of small results, 16 MiB of reports,
# and what the allocator keeps for later threads.
KEPT_MEMORY = 160 << 20
TRIANGLE = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


# Three vertices, and the accessor that reads them from the first buffer view.
CORNERS = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
POSITIONS = {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0]}


def triangle_gltf(content: bytes, **parts) -> dict:
    """A glTF of one triangle whose buffer embeds `content`; keyword arguments add or replace properties."""
    uri = "data:application/octet-stream;base64," + base64.b64encode(content).decode()
    return {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [POSITIONS],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "buffers": [{"byteLength": len(content), "uri": uri}],
        **parts,
    }


def gltf(**parts) -> bytes:
    """A glTF of one triangle, with the given properties."""
    return json.dumps(triangle_gltf(CORNERS, **parts), separators=(",", ":")).encode()


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    with io.BytesIO() as zip_file:
        with zipfile.ZipFile(zip_file, "w", method, compresslevel=1) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return zip_file.getvalue()


def zipped_small(files: dict[str, bytes]) -> bytes:
    """A compressed zip of them, with enough incompressible data not to count as a zip bomb."""
    filling = os.urandom(sum(map(len, files.values())) // 150)
    return zipped({**files, "filling": filling}, zipfile.ZIP_DEFLATED)


class Cgroup:
    """A cgroup with memory and process limits; `missing` is the reason if it could not be created."""

    def __init__(self, memory: int = MEMORY, pids: int = PIDS):
        self.folders: list[Path] = []
        self.missing = None
        name = f"meshgate-hostile-{os.getpid()}-{time.monotonic_ns()}"
        root = Path("/sys/fs/cgroup")
        try:
            if (root / "cgroup.controllers").exists():
                self._limit(root / name, {"memory.max": memory, "pids.max": pids})
            else:
                self._limit(root / "memory" / name, {"memory.limit_in_bytes": memory})
                self._limit(root / "pids" / name, {"pids.max": pids})
        except OSError as error:
            self.remove()
            self.missing = f"no cgroup can be made here ({error})"

    def _limit(self, folder: Path, limits: dict[str, int]) -> None:
        folder.mkdir()
        self.folders.append(folder)
        for name, value in limits.items():
            (folder / name).write_text(str(value))

    def enter(self) -> None:
        """Moves the calling process into the cgroup; for `preexec_fn`."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self) -> None:
        for folder in self.folders:
            end = time.monotonic() + 10
            while time.monotonic() < end:
                try:
                    folder.rmdir()
                    break
                except OSError:
                    time.sleep(0.05)
        self.folders = []


def environment(folder: str, **variables: str) -> dict[str, str]:
    """The environment of a server in that folder, with additional settings."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": folder,
        "DATA_DIR": f"{folder}/data",
        "BIND_ADDRESS": "127.0.0.1:0",
        "WORKERS": "2",
        **variables,
    }


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The error code, if the answer is an error."""
        return self.json()["code"] if self.headers.get("content-type") == "application/problem+json" else None


# A server that always answers immediately: any delay comes from the machine.
ECHO = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    while True:
        client, _ = server.accept()
        with client:
            client.recv(4096)
            client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
"""


@dataclass
class Watch:
    """Response times of `/livez`, alternating with those of an idle reference process, in seconds."""

    times: list[float] = field(default_factory=list)
    echoes: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def worst(self) -> float:
        return max(self.times, default=0.0)

    def late(self, part: float) -> float:
        """The difference between `/livez` and the reference process at this quantile."""
        at = [sorted(times)[int((len(times) - 1) * part)] for times in (self.times, self.echoes)]
        return at[0] - at[1]


@dataclass(frozen=True)
class State:
    """The resources that a server holds."""

    memory: int
    descriptors: int
    conversions: int


class Gateway:
    """A running `meshgate serve`; killed by `close`."""

    def __init__(self, memory: int = MEMORY, pids: int = PIDS, **variables: str):
        assert PROGRAM.exists(), "build it first: cargo build --release"
        self.cgroup = Cgroup(memory, pids)
        self.folder = tempfile.TemporaryDirectory(prefix="meshgate-hostile-")
        self.log = Path(self.folder.name) / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "serve"],
                cwd=ROOT,
                env=environment(self.folder.name, **variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=self.cgroup.enter,
            )
        self.port = int(self._said(r"listening.*?127\.0\.0\.1:(\d+)"))
        until("the engine is warm", lambda: self.get("/readyz").status == 200)
        # Converts once, so that first-time costs do not count as part of an attack.
        self.convert_triangle()
        self.idle = self.state()

    def _said(self, pattern: str) -> str:
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            text = re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text(errors="replace"))
            if found := re.search(pattern, text):
                return found[1]
            assert self.process.poll() is None, text
            time.sleep(0.02)
        raise AssertionError(f"never said {pattern!r}")

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.cgroup.remove()
        self.folder.cleanup()

    def ask(self, method: str, path: str, body=None, timeout: float = LONG, **headers: str) -> Answer:
        return ask(self.port, method, path, body, timeout, **headers)

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def convert(self, name: str, body: bytes, target: str = "glb", timeout: float = LONG, **headers: str) -> Answer:
        """Converts a raw body with the file name `name`."""
        return self.ask("POST", f"/convert?output_format={target}&filename={name}", body, timeout, **headers)

    def convert_triangle(self, **headers: str) -> Answer:
        """Converts a small model of another client with Blender, not from the cache."""
        answer = self.convert("a.obj", TRIANGLE, "fbx", Cache_Control="no-cache", **headers)
        assert answer.status == 200, (answer.status, answer.body[:500])
        return answer

    def state(self) -> State:
        process = Path(f"/proc/{self.process.pid}")
        resident = re.search(r"VmRSS:\s+(\d+) kB", (process / "status").read_text())
        assert resident, "the server has no memory"
        # `walk` ignores folders that are removed while it lists them.
        work = f"{self.folder.name}/data/work"
        depth = work.count("/")
        conversions = sum(
            len(folders) + len(files) for parent, folders, files in os.walk(work) if parent.count("/") == depth + 1
        )
        return State(int(resident[1]) << 10, len(list((process / "fd").iterdir())), conversions)

    def peak_memory(self) -> int:
        """The peak memory of the server itself in bytes, since the last call."""
        process = Path(f"/proc/{self.process.pid}")
        peak = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
        (process / "clear_refs").write_text("5")
        assert peak
        return int(peak[1]) << 10

    def processor_seconds(self) -> float:
        """Processor time of the server itself so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @contextlib.contextmanager
    def watched(self, slowest_probe: float = 1.0):
        """Probes `/livez` all the time; afterwards checks that the server is idle again and converts for others."""
        watch, over = Watch(), threading.Event()
        echo = subprocess.Popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE, text=True)
        echo_port = int(echo.stdout.readline())

        def look() -> None:
            while not over.is_set():
                for port, times in [(self.port, watch.times), (echo_port, watch.echoes)]:
                    began = time.monotonic()
                    try:
                        if ask(port, "GET", "/livez", timeout=60).status != 200:
                            watch.failures.append("not 200")
                    except OSError as error:
                        watch.failures.append(repr(error))
                    times.append(time.monotonic() - began)
                over.wait(0.02)

        looking = threading.Thread(target=look)
        looking.start()
        try:
            yield watch
        finally:
            over.set()
            looking.join()
            echo.kill()
            echo.communicate()
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
        assert not watch.failures, watch.failures
        assert watch.late(1) < slowest_probe, f"/livez took {watch.worst:.3f} s"
        self.convert_triangle()
        self.is_idle_again()

    def rests_without_its_client(self, name: str, model: bytes, after: float) -> None:
        """A client disconnects while it waits: soon after, the server no longer works for it."""
        try:
            self.convert(name, model, timeout=after, Cache_Control="no-cache")
        except OSError:
            time.sleep(1.5)
        else:
            raise AssertionError("it was answered at once")
        before = self.processor_seconds()
        time.sleep(2)
        assert self.processor_seconds() - before < 1

    def is_idle_again(self) -> None:
        """Waits until memory, descriptors and folders are as before the attack."""

        def idle() -> bool:
            now = self.state()
            return (
                now.memory <= self.idle.memory + KEPT_MEMORY
                and now.descriptors <= self.idle.descriptors + 8
                and now.conversions <= self.idle.conversions
            )

        try:
            until("idle again", idle, 30)
        except AssertionError:
            raise AssertionError(f"not idle again: {self.state()}, before: {self.idle}") from None


def ask(port: int, method: str, path: str, body=None, timeout: float = LONG, **headers: str) -> Answer:
    """Sends a request on a new connection; `body` is bytes or an iterable of them."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        got = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, got, answer.read())
    finally:
        connection.close()


def until(what: str, reached, timeout: float = LONG):
    """Calls `reached` until it returns a true value, and returns that."""
    end = time.monotonic() + timeout
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if found := reached():
                return found
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


def at_once(*calls):
    """Makes calls in parallel, and returns their results."""
    results: list = [None] * len(calls)

    def run(index: int, call) -> None:
        try:
            results[index] = call()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
