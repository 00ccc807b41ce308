"""A zygote whose children try to escape the sandbox and report which attempts worked.

It is the engine's own zygote; only the conversion is replaced: the name of the model selects the attempt.
"""

import _thread
import contextlib
import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from meshgate_engine.runtime import zygote

sys.path.insert(0, str(Path(__file__).parent))

from faulty import report

libc = ctypes.CDLL(None, use_errno=True)


def run(task: dict, progress: Callable[[str, float | None], None]) -> dict:
    progress("importing", None)
    result = globals()[f"try_{Path(task['input']).stem}"](progress)
    Path(task["output"]).write_text(json.dumps(result))
    return {**report("none", 1), "output": {"objects": 1}}


def try_escape(progress) -> list[str]:
    """The names of the attempts that worked; should be none."""
    return [name for name, attempt in attempts().items() if possible(attempt)]


def try_harmless(progress) -> list[str]:
    """The attempts that are harmless without a sandbox."""
    harmless = ("read", "open /proc", "list", "connect", "have a pair")
    return [name for name, attempt in attempts().items() if name.startswith(harmless) and possible(attempt)]


def possible(attempt: Callable[[], object]) -> bool:
    try:
        return attempt() is not False
    except (OSError, ValueError):
        return False


def call(name: str, *arguments: object) -> None:
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def peek(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(1)


def connect(kind: int, address: object) -> None:
    with socket.socket(kind, socket.SOCK_STREAM) as peer:
        peer.connect(address)


def attempts() -> dict[str, Callable[[], object]]:
    parent = os.getppid()
    here = Path.cwd()
    orders = json.loads(Path("in/orders.json").read_text())

    def processes():
        """What the child can read about the parent and the supervisor."""
        for pid in (parent, orders["supervisor"]):
            for name in ("environ", "mem", "maps", "cmdline", "root/etc/passwd", "cwd/x"):
                yield f"open /proc/{pid}/{name}", lambda pid=pid, name=name: peek(f"/proc/{pid}/{name}")
            yield f"list /proc/{pid}/fd", lambda pid=pid: os.listdir(f"/proc/{pid}/fd")
            yield f"signal {pid}", lambda pid=pid: os.kill(pid, 0)
            yield f"queue a signal to {pid}", lambda pid=pid: signal.pidfd_send_signal(os.pidfd_open(pid), 0)
            yield f"trace {pid}", lambda pid=pid: call("ptrace", 16, pid, 0, 0)
            yield f"limit {pid}", lambda pid=pid: resource.prlimit(pid, resource.RLIMIT_NOFILE, (9, 9))

    return {
        **dict(processes()),
        "read /etc/passwd": lambda: open("/etc/passwd").read(1),
        "read /etc/shadow": lambda: open("/etc/shadow").read(1),
        "list /": lambda: os.listdir("/"),
        "list the home": lambda: os.listdir(orders["home"]),
        "read a file of the home": lambda: open(orders["secret"]).read(1),
        "list the work folder": lambda: os.listdir(here.parent),
        "list the base": lambda: os.listdir(here.parent.parent),
        "read another conversion": lambda: open(orders["other"] + "/in/model.obj").read(1),
        "read another one by a way round": lambda: open(f"in/../../{Path(orders['other']).name}/in/model.obj").read(1),
        "write into another conversion": lambda: open(orders["other"] + "/out/x", "w"),
        "remove from another conversion": lambda: os.remove(orders["other"] + "/in/model.obj"),
        "move into another conversion": lambda: os.rename("in/orders.json", orders["other"] + "/in/x"),
        "make a folder beside": lambda: os.mkdir("../x"),
        "write to /tmp": lambda: open("/tmp/meshgate-hostile", "w"),
        "write to the package": lambda: open(zygote.__file__, "a"),
        "write to /dev/shm": lambda: open("/dev/shm/meshgate-hostile", "w"),
        "write to its own memory file": lambda: open("/proc/self/oom_score_adj", "w"),
        "read its first environment": lambda: open("/proc/self/environ").read(1),
        "find a secret in the environment": lambda: orders["token"] in json.dumps(dict(os.environ)),
        "find the secret in memory": lambda: in_memory(orders["token"][::-1].encode()),
        "have other descriptors": lambda: sorted(descriptors()) != [0, 1, 2, 3],
        "connect by TCP": lambda: connect(socket.AF_INET, ("127.0.0.1", orders["port"])),
        "connect to a Unix socket": lambda: connect(socket.AF_UNIX, orders["socket"]),
        "connect to an abstract socket": lambda: connect(socket.AF_UNIX, "\0" + orders["abstract"]),
        "send by UDP": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)),
        "open a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "have a pair of sockets": socket.socketpair,
        "run a program": lambda: subprocess.run(["/bin/true"], check=True),
        "become a program": lambda: os.execv("/bin/true", ["true"]),
        "fork": lambda: os.fork() or os._exit(0),
        "link to a file": lambda: os.link("/etc/passwd", "out/hard"),
        "link to a name": lambda: os.symlink("/etc/passwd", "out/soft"),
        "leave a pipe": lambda: os.mkfifo("out/pipe"),
        "leave a device": lambda: os.mknod("out/zero", 0o020666, os.makedev(1, 5)),
        "leave a program that runs as root": lambda: os.chmod("in/orders.json", 0o4755) or setuid("in/orders.json"),
        "raise its memory": lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)),
        "raise its open files": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (99999, 99999)),
        "take room without writing": lambda: os.posix_fallocate(os.open("in/orders.json", os.O_RDWR), 0, 1 << 20),
        "reserve room": lambda: reserve(0x40305828),
        "reserve room, as others do it": lambda: reserve(0x4030582A),
        "reserve room by zeroes": lambda: reserve(0x40305839),
        "list programs": lambda: os.listdir("/usr/bin"),
        "list what programs share": lambda: os.listdir("/usr/share"),
        "hide memory in a file": lambda: os.memfd_create("x"),
        "leave its session": os.setsid,
        "outlive its parent": lambda: call("prctl", 1, 0, 0, 0, 0),
        "make a namespace": lambda: call("unshare", 0x10000000),
        "change its root": lambda: os.chroot("."),
        "become root": lambda: os.setuid(0) if os.getuid() else os.setuid(1),
    }


def reserve(request: int) -> None:
    with open("tmp/room", "wb") as file:
        fcntl.ioctl(file, request, struct.pack("=hh4xqqiI16x", 0, 0, 0, 1 << 20, 0, 0))


def setuid(path: str) -> bool:
    return bool(os.stat(path).st_mode & 0o4000)


def descriptors() -> list[int]:
    found = []
    for number in range(1024):
        with contextlib.suppress(OSError):
            os.fstat(number)
            found.append(number)
    return found


def in_memory(reversed_token: bytes) -> bool:
    """Searches the memory of the initial environment for the token, which is spelt backwards here."""
    with open("/proc/self/stat") as file:
        start, end = map(int, file.read().rpartition(")")[2].split()[47:49])
    return reversed_token[::-1] in ctypes.string_at(start, end - start)


def try_flood(progress) -> list[str]:
    """Writes far too much into both pipes."""
    for _ in range(200):
        with contextlib.suppress(OSError):
            os.write(3, b"exporting 0.5\n" * 4000)
        with contextlib.suppress(OSError):
            os.write(3, b"\xff" * 50_000)
        os.write(2, b"\0\x1b[2J" * 10_000)
    return []


def try_finish_early(progress) -> list[str]:
    """Announces the report, and continues."""
    os.set_blocking(3, True)
    os.write(3, b"finished\n")
    while True:
        Path("report.json").write_text(json.dumps(report("none", 1)))


def try_many_files(progress) -> list[str]:
    for number in range(100_000):
        os.close(os.open(f"out/{number}", os.O_CREAT, 0o600))
    return []


def try_deep(progress) -> list[str]:
    """A tree too deep for any path, and folders that their owner cannot open."""
    os.mkdir("out/closed", 0o700)
    os.mkdir("out/closed/inner", 0o300)
    Path("out/closed/inner/file").write_text("")
    os.mkdir("tmp/shut", 0o300)
    os.mkdir("tmp/shut/inner", 0)
    os.chdir("tmp")
    for _ in range(3_000):
        os.mkdir("d")
        os.chdir("d")
    os._exit(0)


def try_huge_report(progress) -> list[str]:
    with open("report.json", "w") as file:
        file.write('{"outcome":"succeeded","warnings":[' + '"x",' * (16 << 20))
    os._exit(0)


def try_folder_report(progress) -> list[str]:
    os.mkdir("report.json")
    os._exit(0)


def try_allocate(progress) -> list[str]:
    hoard = []
    while True:
        hoard.append(bytearray(32 << 20))


def try_write(progress) -> list[str]:
    with open("out/large", "wb") as file:
        while True:
            file.write(bytes(1 << 20))


def write_files(*folders: str) -> list[int]:
    """Files of 40 MiB, each below the limit of 50."""
    opened = []
    for number, folder in enumerate(folders):
        opened.append(os.open(f"{folder}/{number}", os.O_CREAT | os.O_WRONLY, 0o600))
        for _ in range(40):
            os.write(opened[-1], bytes(1 << 20))
    return opened


def wait_for_the_end() -> None:
    """Uses some processor time, so as not to count as hung."""
    while True:
        busy_until = time.process_time() + 0.002
        while time.process_time() < busy_until:
            pass
        time.sleep(0.01)


def try_write_enough(progress) -> list[str]:
    write_files("out", "tmp")
    return []


def try_write_many(progress) -> list[str]:
    os.mkdir("tmp/below")
    write_files("out", "in", "tmp/below")
    wait_for_the_end()
    return []


def try_write_many_and_end(progress) -> list[str]:
    write_files("out", "in", "tmp")
    return []


def try_write_and_remove(progress) -> list[str]:
    write_files("out", "in", "tmp")
    for path in ("out/0", "in/1", "tmp/2"):
        os.remove(path)
    wait_for_the_end()
    return []


def try_threads(progress) -> list[str]:
    """Starts as many threads as possible, with minimal stacks."""
    threading.stack_size(32 << 10)
    while True:
        with contextlib.suppress(RuntimeError):
            _thread.start_new_thread(time.sleep, (60,))


def try_burn(progress) -> list[str]:
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while True:
        pass


if __name__ == "__main__":
    zygote.main(run=run)
