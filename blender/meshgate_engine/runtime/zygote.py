"""The zygote: Blender loaded once, and a child forked from it for each conversion.

It speaks ``protocol`` with the supervisor over the Unix socket that is its standard input. Without children it sleeps
in one system call; with children it checks them once a second.
"""

import contextlib
import fcntl
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from . import child, child_monitor, disk_usage, environment, linux, preload, protocol, sandbox, thread_limit
from .child import Run

_TICK = 1.0  # seconds between two checks of the children
# A new zygote tidies up once it was idle for so many seconds, or at the latest before this conversion.
_IDLE, _CONVERSIONS_BEFORE_TIDYING = 0.1, 8


class _StartError(Exception):
    """The zygote cannot serve, for a reason in one sentence."""


def main(run: Run, load: Callable[[], None] = lambda: None) -> NoReturn:
    """Serves until the supervisor hangs up.

    Children call ``run``. A warm zygote calls ``load`` before the first fork, which imports everything that it uses.
    """
    linux.die_with_parent()
    # Loading modules makes no garbage, and collecting it would take a tenth of the time.
    gc.disable()
    _compile_ahead()
    environment.remove_secrets()
    peer = _take_socket()
    status = 1
    try:
        hello = protocol.receive(peer)
        if hello is not None:
            setup, ready = _prepare(hello, run, load)
            gc.enable()
            zygote = _Zygote(peer, setup, hello["hang_after_s"], needs_tidying=not hello["cold"])
            peer.sendall(protocol.encode("ready", protocol=protocol.VERSION, **ready))
            zygote.serve()
        status = 0
    except _StartError as broken:
        _send_broken(peer, str(broken))
    except (BrokenPipeError, ConnectionResetError):
        status = 0
    except Exception as error:
        traceback.print_exc()
        _send_broken(peer, f"{type(error).__name__}: {error}")
    finally:
        # The supervisor does not wait for Blender to clean up.
        with contextlib.suppress(Exception):
            child.flush()
        os._exit(status)


def _compile_ahead() -> None:
    """Compiles this package in another process while Blender loads: a tenth of the start where the package is new."""
    # A full Blender is loaded before Python runs, and has threads.
    if "bpy" in sys.modules or os.fork() != 0:
        return
    try:
        linux.die_with_parent()
        # An open standard stream would keep its reader waiting.
        os.closerange(0, 3)
        importlib.import_module("compileall").compile_dir(Path(__file__).parents[1], quiet=2)
    finally:
        os._exit(0)


def _take_socket() -> socket.socket:
    """Moves the socket off standard input, so that nothing printed or inherited reaches it."""
    peer = socket.socket(fileno=fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 10))
    peer.setblocking(True)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return peer


def _send_broken(peer: socket.socket, reason: str) -> None:
    with contextlib.suppress(OSError):
        peer.sendall(protocol.encode("broken", reason=reason[:2000]))


def _prepare(hello: dict, run: Run, load: Callable[[], None]) -> tuple[child.Setup, dict]:
    if hello.get("type") != "hello":
        raise _StartError("the first message is not a hello")
    if hello["protocol"] != protocol.VERSION:
        raise _StartError(f"the supervisor speaks protocol {hello['protocol']}, this engine {protocol.VERSION}")
    sandboxed = hello["sandbox"] != "off"
    missing = sandbox.missing(hello["seccomp"]) if sandboxed else []
    if missing and hello["sandbox"] == "require":
        raise _StartError(f"the sandbox is required, and this machine lacks {' and '.join(missing)}")
    try:
        blender = preload.find() if hello["cold"] else preload.load()
        if not hello["cold"]:
            load()
            preload.prepare_for_forks()
    except ImportError as error:
        traceback.print_exc()
        raise _StartError(f"blender could not be loaded: {error}") from error
    environment.set_for_children()
    # Every child would print the text that is in a buffer at the fork.
    child.flush()
    setup = child.Setup(
        sandboxed=sandboxed,
        program=b"" if sandbox.SECCOMP in missing or not sandboxed else sandbox.decode(hello["seccomp"]),
        readable=tuple(sandbox.engine_paths(hello["readable"])),
        missing=tuple(missing),
        load=preload.load if hello["cold"] else lambda: blender,
        run=run,
    )
    return setup, {"blender": blender.version, "vrm_addon": blender.vrm_addon, "sandbox_missing": missing}


class _Zygote:
    def __init__(self, peer: socket.socket, setup: child.Setup, hang_after: float, needs_tidying: bool) -> None:
        self._peer, self._setup = peer, setup
        self._hang_after, self._tick = hang_after, min(_TICK, hang_after / 4)
        self._needs_tidying = needs_tidying
        self._forked = 0
        self._children: dict[int, child_monitor.Child] = {}
        self._gates: dict[int, thread_limit.ThreadGate] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(peer, selectors.EVENT_READ, None)
        # The end of a child wakes the selector through this pipe.
        self._wakeup, wakeup_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(wakeup_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # Ctrl-C reaches all processes of a terminal; the supervisor decides.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Children inherit the rest. Blender's handlers would walk a stack on a broken heap.
        for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGXCPU):
            signal.signal(number, signal.SIG_DFL)
        # A file that is too large must be an error to report; Python ignores the signal, but a full Blender may not.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self._alarm = thread_limit.Alarm()
        # Processes that outlive a child become ours, and are killed.
        linux.adopt_orphans()

    def serve(self) -> None:
        """Serves until the supervisor hangs up; kills the children then."""
        try:
            while self._serve_once():
                pass
        finally:
            for each in self._children.values():
                each.kill()
            for each in self._children.values():
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(each.pid, 0)
            self._kill_orphans()

    def _serve_once(self) -> bool:
        idle = _IDLE if self._needs_tidying else None
        ready = self._selector.select(self._tick if self._children else idle)
        if not ready and not self._children:
            self._tidy()
        for key, _ in ready:
            if key.fileobj is self._peer:
                if not self._handle_command():
                    return False
            elif key.fd == self._wakeup:
                os.read(self._wakeup, 4096)
            elif not key.data():
                self._selector.unregister(key.fd)
        for each in self._children.values():
            each.check(self._hang_after)
            self._forward_progress(each)
            if each.finished and not each.killed:
                # The supervisor hears of it before the kernel has freed the child's memory.
                each.kill()
                if each.has_stopped() and not each.takes_too_much():
                    self._send("finished", id=each.number)
        self._reap()
        return True

    def _tidy(self) -> None:
        if self._needs_tidying:
            self._needs_tidying = False
            preload.tidy()
            # Reaps the process that compiled the package.
            self._kill_orphans()

    def _handle_command(self) -> bool:
        command = protocol.receive(self._peer)
        if command is None:
            return False
        if command["type"] == "convert":
            self._fork(command)
        elif command["type"] == "cancel":
            for each in self._children.values():
                if each.number == command["id"]:
                    each.cancelled = True
                    each.kill()
        return True

    def _fork(self, command: dict) -> None:
        self._forked += 1
        if self._forked == _CONVERSIONS_BEFORE_TIDYING:
            self._tidy()
        pipes: list[int] = []
        zygote, before = os.getpid(), disk_usage.used(command["folder"])
        try:
            pipes += os.pipe2(os.O_CLOEXEC)
            pipes += os.pipe2(os.O_CLOEXEC)
            pipes += (end.detach() for end in socket.socketpair())
            pid = os.fork()
        except OSError as error:
            for fd in pipes:
                os.close(fd)
            log = f"cannot fork: {error.strerror}"
            no_usage = {"peak_memory_bytes": 0, "cpu_seconds": 0.0, "stage": None}
            self._send("exited", id=command["id"], end={"how": "not_started"}, log=log, **no_usage)
            return
        log, log_end, progress, progress_end, channel, channel_end = pipes
        if pid == 0:
            child.main(command, self._setup, zygote, log_end, progress_end, channel_end)
        for fd in (log_end, progress_end, channel_end):
            os.close(fd)
        each = child_monitor.Child(command, pid, before, log, progress)
        self._children[pid] = each
        self._gates[pid] = thread_limit.ThreadGate(each, socket.socket(fileno=channel), self._alarm)
        self._selector.register(channel, selectors.EVENT_READ, lambda: self._take_listener(pid))
        for fd, read in ((log, each.read_log), (progress, each.read_progress)):
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ, read)
        self._send("started", id=each.number, pid=pid)

    def _take_listener(self, pid: int) -> bool:
        """Takes the listener of a child, and answers its requests for threads from now on."""
        gate = self._gates[pid]
        if gate.receive():
            self._selector.register(gate.listener, selectors.EVENT_READ, gate.answer)
        return False

    def _forward_progress(self, each: child_monitor.Child) -> None:
        if step := each.take_progress():
            self._send("progress", id=each.number, stage=step[0], fraction=step[1])

    def _reap(self) -> None:
        for each in list(self._children.values()):
            if os.waitid(os.P_PID, each.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            # The process ID is not reused before the child is reaped.
            each.kill()
            _, status, usage = os.wait4(each.pid, 0)
            del self._children[each.pid]
            event = each.end(status, usage)
            self._forward_progress(each)
            for fd in (each.log_fd, each.progress_fd, *self._gates.pop(each.pid).detach()):
                with contextlib.suppress(KeyError):
                    self._selector.unregister(fd)
                os.close(fd)
            self._kill_orphans()
            self._send("exited", **event)

    def _kill_orphans(self) -> None:
        """Kills descendants that left their session; there are none where seccomp forbids forks."""
        with contextlib.suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children") as file:
            for pid in map(int, file.read().split()):
                if pid not in self._children:
                    with contextlib.suppress(ProcessLookupError, ChildProcessError):
                        os.kill(pid, signal.SIGKILL)
                        os.waitpid(pid, 0)

    def _send(self, kind: str, **fields: object) -> None:
        self._peer.sendall(protocol.encode(kind, **fields))
