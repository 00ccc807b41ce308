"""System calls by ``ctypes``, and the files of ``/proc``."""

import ctypes
import os
import signal

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def call(name: str, *arguments: object) -> int:
    """Calls a function of the C library. Raises OSError when its result is negative."""
    result = getattr(libc, name)(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def seccomp_filter(program: bytes) -> object:
    """A reference to a seccomp program of eight bytes a step, as system calls take it."""
    return ctypes.byref(_Program(len(program) // 8, program))


def die_with_parent() -> None:
    """Asks the kernel to kill this process when the thread that started it ends."""
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose own parents end."""
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def stat(path: str) -> list[str]:
    """The fields of a ``stat`` in ``/proc`` after the name, which is in parentheses and may contain anything.

    The first one is the third of proc_pid_stat(5), the state.
    """
    with open(path) as file:
        return file.read().rpartition(")")[2].split()
