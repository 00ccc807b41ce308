"""A supervisor for tests: starts a real zygote and talks to it over the socket."""

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import sysconfig
import textwrap
from functools import cache
from pathlib import Path

from meshgate_engine.runtime import protocol

BLENDER_DIR = Path(__file__).parents[1]
ROOT = BLENDER_DIR.parent
PACKAGES = sysconfig.get_path("purelib")

LIMITS = {
    "memory_bytes": 4 << 30, "cpu_seconds": 60, "file_bytes": 64 << 20, "disk_bytes": 128 << 20, "open_files": 128,
}  # fmt: skip
TASK = {
    "input": "in/a.glb", "input_format": "glb", "output": "out/a.glb", "output_format": "glb", "options": {},
    "read_back": False, "importer": "usual", "most_triangles": None,
}  # fmt: skip

NO_COUNTS = {
    "input": {}, "output": None, "importer": "none", "packed_textures": 0,
    "losses": [], "warnings": [], "import_ms": 0.0,
    "process_ms": 0.0, "export_ms": 0.0, "check_ms": 0.0,
}  # fmt: skip

# Runs the code of the test as the body of ``run(task, progress)``; its result goes into the report as a loss.
_SCRIPT = """
import sys
sys.path.insert(0, {path!r})
sys.path.append({packages!r})
from meshgate_engine.runtime import zygote
from meshgate_engine.errors import ConversionError
def run(task, progress):
    scope = {{"progress": progress, "ConversionError": ConversionError}}
    exec(task["options"]["code"], scope)
    return {{**{report!r}, "losses": [str(scope.get("result"))]}}
zygote.main(run)
"""


@cache
def seccomp_program() -> str:
    """The product's seccomp program, from the environment or from the example that prints it."""
    given = os.environ.get("MESHGATE_TEST_SECCOMP")
    if given:
        return given
    command = ["cargo", "run", "-q", "--example", "seccomp_program"]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class Zygote:
    """A zygote whose children run code given with each conversion."""

    def __init__(self, folder: Path, *, wrapper=(), python=sys.executable, script=None, environment=None, stderr=None):
        self.folder = folder
        self.number = 0
        self.unread: list[dict] = []
        package = BLENDER_DIR
        if wrapper:
            # Another user may have no access to the project's folder.
            package = folder / "package"
            shutil.copytree(BLENDER_DIR / "meshgate_engine", package / "meshgate_engine")
        self.script = folder / "zygote.py"
        self.script.write_text(script or _SCRIPT.format(path=str(package), packages=PACKAGES, report=NO_COUNTS))
        self.peer, theirs = socket.socketpair()
        self.peer.settimeout(60)
        with theirs:
            self.process = subprocess.Popen(
                [*wrapper, python, "-I", str(self.script)],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=environment,
                start_new_session=True,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.peer.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the zygote outlived its supervisor")

    def send(self, kind: str, **fields) -> None:
        body = json.dumps({"type": kind, **fields}).encode()
        self.peer.sendall(struct.pack(">I", len(body)) + body)

    def hello(self, **changes) -> dict:
        hello = {
            "protocol": protocol.VERSION, "sandbox": "require", "seccomp": seccomp_program(), "readable": [PACKAGES],
            "cold": False, "hang_after_s": 30.0,
        }  # fmt: skip
        self.send("hello", **{**hello, **changes})
        return self.event()

    def start(self, code: str, **limits) -> int:
        """Asks for a conversion that runs ``code``; returns its number."""
        self.number += 1
        folder = self.conversion(self.number)
        for name in ("in", "out", "tmp"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            owner = os.stat(self.folder)
            for path in (folder, *folder.iterdir()):
                os.chown(path, owner.st_uid, owner.st_gid)
        task = {**TASK, "options": {"code": textwrap.dedent(code)}}
        self.send("convert", id=self.number, folder=str(folder), task=task, limits={**LIMITS, **limits})
        return self.number

    def conversion(self, number: int) -> Path:
        return self.folder / f"conversion-{number}"

    def event(self, kind: str | None = None, number: int | None = None) -> dict:
        """The next event, optionally of one kind and conversion; other events are kept for later."""
        for index, event in enumerate(self.unread):
            if kind in (None, event["type"]) and number in (None, event.get("id")):
                return self.unread.pop(index)
        while True:
            (length,) = struct.unpack(">I", self._receive(4))
            event = json.loads(self._receive(length))
            if kind in (None, event["type"]) and number in (None, event.get("id")):
                return event
            self.unread.append(event)

    def wait_until_over(self, number: int) -> None:
        """Waits for ``finished``, which may be missing on a busy machine, or for ``exited``, which is kept."""
        while not any(e.get("id") == number and e["type"] in {"finished", "exited"} for e in self.unread):
            (length,) = struct.unpack(">I", self._receive(4))
            self.unread.append(json.loads(self._receive(length)))

    def run(self, code: str, **limits) -> tuple[dict, dict | None]:
        """The ``exited`` event of a conversion and its report."""
        number = self.start(code, **limits)
        exited = self.event("exited", number)
        with contextlib.suppress(FileNotFoundError):
            return exited, json.loads((self.conversion(number) / "report.json").read_text())
        return exited, None

    def result(self, code: str, **limits) -> str:
        """The value that ``code`` left in ``result``."""
        exited, report = self.run(code, **limits)
        assert exited["end"] == {"how": "exit", "status": 0}, exited
        assert report["outcome"] == "succeeded", (report, exited["log"])
        return report["losses"][0]

    def _receive(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            chunk = self.peer.recv(count - len(received))
            if not chunk:
                raise EOFError("the zygote hung up")
            received += chunk
        return received
