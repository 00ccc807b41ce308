"""Limits the threads of a child: it asks the zygote before each new one.

The kernel has no such limit: ``RLIMIT_NPROC`` does not hold for root, and counts all processes of a user. A child can
start 20,000 threads in a quarter of a second, which leaves none for the container. So a seccomp filter stops each
``clone`` until the zygote has answered through the filter's listener.
"""

import contextlib
import errno
import fcntl
import os
import platform
import signal
import socket
import struct
import time
from collections.abc import Iterator

from . import child_monitor, linux

# Blender, its libraries and Python need fewer: each library may start one thread for each processor.
LIMIT = 64 + 4 * len(os.sched_getaffinity(0))
# The numbers of the system calls ``seccomp`` and ``clone``.
_SYSTEM_CALLS = {"x86_64": (317, 56), "aarch64": (277, 220)}
_SET_MODE_FILTER, _NEW_LISTENER = 1, 1 << 3
_RET_USER_NOTIF, _RET_ALLOW = 0x7FC00000, 0x7FFF0000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06

# The beginning of ``struct seccomp_notif``: the request's ID and the thread that asks. Then the whole of ``struct
# seccomp_notif_resp``.
_NOTIFICATION, _NOTIFICATION_SIZE = struct.Struct("=QI"), 80
_RESPONSE = struct.Struct("=QqiI")
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1

# A thread appears within so many seconds after the permission; until then the permission counts as a thread.
_APPEARS_WITHIN = 0.02
# How long the zygote waits for a request that the kernel announced, in seconds.
_PATIENCE = 0.25
# The zygote kills a child with more refused requests, since each answer takes its time.
_MOST_REFUSALS = 1000


def enter(channel: socket.socket | None) -> None:
    """Makes this process ask before each new thread, for good, and sends the listener through ``channel``.

    Without a channel nobody answers, and the process gets no more threads. Raises OSError when the kernel cannot do
    this, or when a container's listener watches this process already.
    """
    if platform.machine() not in _SYSTEM_CALLS:
        raise OSError(errno.ENOSYS, "the thread limit is not supported on this machine")
    seccomp, clone = _SYSTEM_CALLS[platform.machine()]
    steps = (
        (_LOAD, 0, 0, 0),
        (_JUMP_IF_EQUAL, 0, 1, clone),
        (_RETURN, 0, 0, _RET_USER_NOTIF),
        (_RETURN, 0, 0, _RET_ALLOW),
    )
    program = linux.seccomp_filter(b"".join(struct.pack("=HBBI", *step) for step in steps))
    listener = linux.call("syscall", seccomp, _SET_MODE_FILTER, _NEW_LISTENER, program)
    try:
        if channel is not None:
            socket.send_fds(channel, [b"l"], [listener])
    finally:
        os.close(listener)


class Alarm:
    """Interrupts a wait for a request that does not come. There is one, since a process has one timer."""

    def __init__(self) -> None:
        self._waiting = False
        signal.signal(signal.SIGALRM, self._ring)

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Raises TimeoutError in a system call that takes longer."""
        self._waiting = True
        # It repeats, since it could fire just before the call.
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
        try:
            yield
        finally:
            self._waiting = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _ring(self, _number: int, _frame: object) -> None:
        # A signal that comes late interrupts nothing else.
        if self._waiting:
            raise TimeoutError


class ThreadGate:
    """Answers one child's requests for threads, in the zygote."""

    def __init__(self, child: child_monitor.Child, channel: socket.socket, alarm: Alarm) -> None:
        self._child, self._channel, self._alarm = child, channel, alarm
        self.listener: int | None = None
        # Thread -> when it got permission to start another; it starts one at a time.
        self._granted: dict[int, float] = {}

    def receive(self) -> bool:
        """Receives the listener from the child; False when the child ended first."""
        try:
            _, listeners, _, _ = socket.recv_fds(self._channel, 1, 1)
        except OSError:
            return False
        self.listener = next(iter(listeners), None)
        return self.listener is not None

    def answer(self) -> bool:
        """Answers one request; False when no others can come."""
        if self._child.killed:
            return False
        try:
            identity, asking = self._request()
        except TimeoutError:
            # The child announced a request and interrupted it by a signal, which no conversion does.
            self._child.refused_threads += 1
            self._child.kill()
            return False
        except OSError:
            # The thread that asked was killed, and all others with it.
            return False
        self._granted.pop(asking, None)
        if _threads(self._child.pid) + self._pending() < LIMIT:
            self._granted[asking] = time.monotonic()
            self._respond(identity, 0, _CONTINUE)
            return True
        self._respond(identity, -errno.EAGAIN, 0)
        self._child.refused_threads += 1
        if self._child.refused_threads > _MOST_REFUSALS:
            self._child.kill()
        return True

    def detach(self) -> list[int]:
        """Gives up its open file descriptors and returns them; the caller has to close them."""
        return [self._channel.detach()] + ([] if self.listener is None else [self.listener])

    def _pending(self) -> int:
        since = time.monotonic() - _APPEARS_WITHIN
        self._granted = {thread: at for thread, at in self._granted.items() if at > since}
        return len(self._granted)

    def _request(self) -> tuple[int, int]:
        """The next request's ID and the thread that asks.

        Raises TimeoutError when there is none after all, since the call would wait for a later one.
        """
        request = bytearray(_NOTIFICATION_SIZE)
        with self._alarm.within(_PATIENCE):
            fcntl.ioctl(self.listener, _RECEIVE, request, True)
        return _NOTIFICATION.unpack_from(request)

    def _respond(self, identity: int, error: int, flags: int) -> None:
        # The thread that asked may be gone.
        with contextlib.suppress(FileNotFoundError):
            fcntl.ioctl(self.listener, _SEND, _RESPONSE.pack(identity, 0, error, flags))


def _threads(pid: int) -> int:
    """How many threads a process has; 0 when it is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(linux.stat(f"/proc/{pid}/stat")[17])
    return 0
