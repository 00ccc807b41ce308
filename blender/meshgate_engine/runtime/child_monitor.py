"""Watches one child: its pipes, processor time, memory and disk, and how it ended."""

import contextlib
import os
import re
import signal
import time

from . import disk_usage, linux, protocol

_LOG_KEPT = 4096  # bytes of a child's output
_READ_SIZE = 1 << 16  # bytes
_LONGEST_LINE = 64  # bytes; longer lines are not progress
_DISK_TICK = 1.0  # seconds between two measurements of a child's disk usage
# A child writes this line to its progress pipe once it has written its report.
_FINISHED = b"finished"
# How often, and how many seconds apart, a killed child is checked for running threads.
_STOP_CHECKS, _STOP_CHECK_PAUSE = 10, 0.0002
# The flag in a thread's stat that it is exiting: it runs no more instructions of its own.
_PF_EXITING = 0x4
# How many steps of progress may follow at once, and how many more each second.
_BURST, _RATE = 32.0, 20.0
# A child that crashed above this share of its memory limit counts as stopped by the limit.
_NEAR_LIMIT = 0.95

# Messages of C++, Blender, Python and glibc when memory runs out.
_NO_MEMORY = re.compile(
    r"bad_alloc|[cm]alloc\w* returns null|MemoryError|out of memory|cannot allocate memory", re.IGNORECASE
)
_CRASHES = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGTRAP, signal.SIGFPE}


class Child:
    """One child, from its fork to its end."""

    def __init__(self, command: dict, pid: int, before: int | None, log: int, progress: int) -> None:
        """``before`` is the size of its folder at the fork, in bytes."""
        self.number = command["id"]
        self.pid = pid
        self.limits = command["limits"]
        self.log_fd, self.progress_fd = log, progress
        self.stage: str | None = None
        self.cancelled = self.hangs = self.finished = self.killed = False
        self.refused_threads = 0
        self._log = self._line = b""
        self._waiting: tuple[str, float | None] | None = None
        self._budget, self._budget_at = _BURST, time.monotonic()
        self._cpu_ticks, self._cpu_since = -1, time.monotonic()
        self._check_at = self._measure_at = 0.0
        self._folder = command["folder"]
        self._allowed = (before or 0) + self.limits["disk_bytes"]
        self._overfull, self._address_space, self._oom_kills = False, 0, oom_kills()

    def kill(self) -> None:
        """Kills the child and its session. Only before it is reaped: afterwards the process ID may be another's."""
        self.killed = True
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)

    def has_stopped(self) -> bool:
        """Whether a killed child runs no more instructions, though the kernel may still be freeing its memory."""
        for _ in range(_STOP_CHECKS):
            if _all_exiting(self.pid):
                return True
            time.sleep(_STOP_CHECK_PAUSE)
        return False

    def read_log(self) -> bool:
        """Reads output and keeps its end; False at the end of the pipe."""
        chunk = _read(self.log_fd)
        if chunk:
            self._log = (self._log + chunk)[-_LOG_KEPT:]
        return chunk != b""

    def read_progress(self) -> bool:
        """Reads lines of progress and keeps the last valid one; False at the end of the pipe."""
        chunk = _read(self.progress_fd)
        if not chunk:
            return chunk is None
        *lines, rest = (self._line + chunk).split(b"\n")
        self._line = rest[: _LONGEST_LINE + 1]
        for line in lines:
            self.finished = self.finished or line == _FINISHED
            if step := parse_progress(line):
                self.stage, self._waiting = step[0], step
        return True

    def take_progress(self) -> tuple[str, float | None] | None:
        """The step of progress to forward, if there is one and the rate limit allows it."""
        now = time.monotonic()
        self._budget = min(_BURST, self._budget + (now - self._budget_at) * _RATE)
        self._budget_at = now
        if self._waiting is None or self._budget < 1:
            return None
        self._budget -= 1
        step, self._waiting = self._waiting, None
        return step

    def check(self, hang_after: float) -> None:
        """Kills the child when it was idle for too long or uses too much disk."""
        now = time.monotonic()
        if now < self._check_at:
            return
        if now - self._check_at >= hang_after:
            # This process did not run either, as in a paused container: idle time counts from now.
            self._cpu_since = now
        self._check_at = now + min(1.0, hang_after) / 4
        if now >= self._measure_at:
            self._measure_at = now + _DISK_TICK
            if self.takes_too_much(disk_usage.deleted_open_bytes(self.pid)):
                self.kill()
                return
        state = _state(self.pid)
        if state is None:
            return
        self._address_space = max(self._address_space, _peak_address_space(self.pid))
        asleep, ticks = state
        if not asleep or ticks != self._cpu_ticks:
            self._cpu_ticks, self._cpu_since = ticks, now
        elif now - self._cpu_since >= hang_after and not self.cancelled:
            self.hangs = True
            self.kill()

    def takes_too_much(self, beside: int = 0) -> bool:
        """Whether its folder and ``beside`` bytes exceed its disk limit."""
        used = disk_usage.used(self._folder)
        self._overfull = self._overfull or used is None or used + beside > self._allowed
        return self._overfull

    def end(self, status: int, usage) -> dict:
        """The fields of the ``exited`` event of a reaped child."""
        # Its last output is still in the pipes, which hold no more than one read.
        self.read_log()
        self.read_progress()
        cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
        end = {"id": self.number, "end": self._how(status, cpu, peak), "stage": self.stage, "log": self.log()}
        return {**end, "peak_memory_bytes": peak, "cpu_seconds": round(cpu, 3)}

    def log(self) -> str:
        """The end of the child's output, without control characters."""
        text = self._log.decode("utf-8", "replace")
        return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text).strip()

    def _how(self, status: int, cpu: float, peak: int) -> dict:
        if self.cancelled:
            return {"how": "cancelled"}
        if self.takes_too_much():
            return {"how": "disk_limit"}
        if self.hangs:
            return {"how": "hang"}
        if self.finished:
            # A finished child succeeded, even if it was killed afterwards.
            return {"how": "exit", "status": 0}
        if os.WIFEXITED(status):
            return {"how": "exit", "status": os.WEXITSTATUS(status)}
        number = os.WTERMSIG(status)
        if self.refused_threads and number in {*_CRASHES, signal.SIGKILL}:
            return {"how": "thread_limit"}
        if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu >= self.limits["cpu_seconds"]):
            return {"how": "cpu_limit"}
        if number == signal.SIGKILL and oom_kills() > self._oom_kills:
            return {"how": "memory_limit"}
        near = max(self._address_space, peak) >= _NEAR_LIMIT * self.limits["memory_bytes"]
        if number in _CRASHES and (near or _NO_MEMORY.search(self.log())):
            return {"how": "memory_limit"}
        return {"how": "signal", "signal": number}


def parse_progress(line: bytes) -> tuple[str, float | None] | None:
    """The stage and the fraction of a line ``stage fraction``; None for any other line."""
    stage, _, number = line.decode("ascii", "replace").partition(" ")
    if len(line) > _LONGEST_LINE or stage not in protocol.STAGES:
        return None
    if number == "-":
        return stage, None
    valid = re.fullmatch(r"[01](\.[0-9]{1,9})?", number) and float(number) <= 1
    return (stage, float(number)) if valid else None


def oom_kills() -> int:
    """How often the OOM killer has killed in this control group; 0 if unknown."""
    with contextlib.suppress(OSError, ValueError):
        with open("/proc/self/cgroup") as file:
            group = next((line[3:].strip() for line in file if line.startswith("0::")), "/")
        with open(f"/sys/fs/cgroup{group.rstrip('/')}/memory.events") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    return 0


def _read(fd: int) -> bytes | None:
    """The bytes that are there; empty at the end of the pipe, None when there are none now."""
    try:
        return os.read(fd, _READ_SIZE)
    except BlockingIOError:
        return None


def _state(pid: int) -> tuple[bool, int] | None:
    """Whether the process sleeps or is stopped, and its processor time of all threads, in clock ticks."""
    with contextlib.suppress(OSError):
        fields = linux.stat(f"/proc/{pid}/stat")
        return fields[0] in {"S", "T", "t"}, int(fields[11]) + int(fields[12])
    return None


def _all_exiting(pid: int) -> bool:
    """Whether every thread is exiting."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    for thread in threads:
        try:
            flags = int(linux.stat(f"/proc/{pid}/task/{thread}/stat")[6])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if not flags & _PF_EXITING:
            return False
    return True


def _peak_address_space(pid: int) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmPeak:"):
                return int(line.split()[1]) * 1024
    return 0
