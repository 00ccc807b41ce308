"""The life of a child: bound, then one conversion, then its report.

Nothing a model contains may keep the child from ending, and nothing that the child leaves behind but
``report.json`` and ``out/`` is looked at.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ConversionError
from . import preload, protocol, sandbox

Progress = Callable[[str, float | None], None]
Run = Callable[[dict, Progress], dict]

# Exit statuses of a child that could not even write its report.
NO_REPORT = 70
NO_SPACE = 28

# Where the progress pipe is in the child; 0, 1 and 2 are all else that is open, and until it is bound the channel
# through which the zygote gets its listener (``runtime/thread_limit.py``).
PROGRESS_FD = 3
_CHANNEL_FD = 4

# What remains below the hard limit to say that the soft one was met, in bytes.
_MEMORY_RESERVE = 32 << 20

# A disk with less room than this is full, in bytes.
_NO_ROOM = 64 << 10

_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Setup:
    """What all children of a zygote share; ``load`` brings Blender into a child of a cold one."""

    sandboxed: bool
    program: bytes
    readable: tuple[str, ...]
    missing: tuple[str, ...]
    blender: preload.Blender
    load: Callable[[], preload.Blender] | None
    run: Run


def live(command: dict, setup: Setup, zygote: int, log: int, progress: int, channel: int) -> None:
    """All that a child does, right after the fork. Never returns."""
    status = NO_REPORT
    try:
        _detach(zygote, log, progress, channel)
        status = _work(command, setup)
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            flush()
        if status == 0:
            # The report can be read now: giving back this process's memory takes long enough not to be waited for.
            # Where the pipe is full, nobody hears it, and our end tells.
            with contextlib.suppress(BaseException):
                os.write(PROGRESS_FD, b"finished\n")
        os._exit(status)


def flush() -> None:
    """Python's and C's buffers."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    _libc.fflush(None)


def die_with_parent() -> None:
    """Asks the kernel to kill this process when the thread that started it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def settle_signals() -> None:
    """What children inherit, so that each of them has less to do."""
    # Blender's own handlers would look for a stack in a broken heap.
    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    # Python ignores it already, a full Blender might not: a file that is too large is an error to report.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _detach(zygote: int, log: int, progress: int, channel: int) -> None:
    os.setsid()
    die_with_parent()
    if os.getppid() != zygote:
        os._exit(NO_REPORT)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    # High numbers first, lest one is overwritten before it is copied.
    log, progress, channel = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (log, progress, channel))
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(progress, PROGRESS_FD)
    os.dup2(channel, _CHANNEL_FD)
    os.closerange(_CHANNEL_FD + 1, os.sysconf("SC_OPEN_MAX"))
    os.set_blocking(PROGRESS_FD, False)


def _work(command: dict, setup: Setup) -> int:
    folder, limits = command["folder"], command["limits"]
    os.chdir(folder)
    with contextlib.suppress(FileNotFoundError):
        os.remove("report.json")
    scratch = os.path.join(folder, "tmp")
    os.environ.update(HOME=scratch, TMPDIR=scratch, BLENDER_USER_RESOURCES=scratch)
    # The zygote's own choice may be remembered.
    tempfile.tempdir = None
    _set_limits(limits)
    with socket.socket(fileno=_CHANNEL_FD) as channel:
        if setup.sandboxed:
            sandbox.enter(folder, setup.readable, setup.program, setup.missing, channel)
    stage = "importing"

    def progress(name: str, fraction: float | None = None) -> None:
        nonlocal stage
        stage = name
        # A full pipe loses a step, not the conversion.
        with contextlib.suppress(OSError):
            os.write(PROGRESS_FD, f"{name} {'-' if fraction is None else f'{fraction:.4f}'}\n".encode())

    try:
        blender = setup.load() if setup.load else setup.blender
        _settle_blender(blender, command["task"], scratch)
        report = {"outcome": "succeeded", **setup.run(command["task"], progress)}
        if set(report) != protocol.REPORTS["succeeded"] | {"outcome"}:
            raise TypeError(f"a report with {sorted(report)}")
        _check_sizes(limits["file_bytes"])
    except BaseException as error:
        resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2)
        failure = _failure(error, stage)
        if not isinstance(error, ConversionError):
            traceback.print_exc()
        report = {"outcome": "failed", "code": failure.code, "detail": failure.detail}
    return _write_report(report)


def _set_limits(limits: dict) -> None:
    # The kernel prefers the child to the service when the machine runs out of memory.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    memory = limits["memory_bytes"]
    _limit(resource.RLIMIT_AS, max(0, memory - _MEMORY_RESERVE), memory)
    _limit(resource.RLIMIT_CPU, limits["cpu_seconds"], limits["cpu_seconds"] + 1)
    _limit(resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"])
    _limit(resource.RLIMIT_NOFILE, limits["open_files"], limits["open_files"])
    _limit(resource.RLIMIT_CORE, 0, 0)


def _limit(kind: int, soft: int, hard: int) -> None:
    """Never above what this process was given."""
    given = resource.getrlimit(kind)[1]
    if given != resource.RLIM_INFINITY:
        soft, hard = min(soft, given), min(hard, given)
    resource.setrlimit(kind, (soft, hard))


def _settle_blender(blender: preload.Blender, task: dict, scratch: str) -> None:
    bpy = sys.modules.get("bpy")
    if bpy is None:
        return
    bpy.context.preferences.filepaths.temporary_directory = scratch
    if {"vrm", "vrma"} & {task["input_format"], task["output_format"]}:
        blender.enable_vrm_handlers()


def _check_sizes(largest: int) -> None:
    """Writers in C say nothing of a write that the file size limit cut short."""
    for folder, _, names in os.walk("out"):
        if any(os.lstat(os.path.join(folder, name)).st_size >= largest for name in names):
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


def _failure(error: BaseException, stage: str) -> ConversionError:
    """What the caller is told, whatever went wrong; the traceback is for the log."""
    causes = _causes(error)
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    # Operators of Blender put the traceback of an add-on into the text of a RuntimeError.
    texts = " ".join(str(cause) for cause in causes if not isinstance(cause, ConversionError))
    if any(isinstance(cause, MemoryError) for cause in causes) or "MemoryError" in texts or errno.ENOMEM in numbers:
        return ConversionError("memory_limit", "the conversion needs more memory than allowed")
    if errno.EFBIG in numbers or os.strerror(errno.EFBIG) in texts:
        return ConversionError("output_too_large", "the result is larger than allowed")
    if numbers & {errno.ENOSPC, errno.EDQUOT} or os.strerror(errno.ENOSPC) in texts:
        return ConversionError("disk_full", "the disk is full")
    # Writers in C say nothing of a write that found no room, and what they wrote cannot be read.
    if stage != "importing" and _disk_is_full():
        return ConversionError("disk_full", "the disk is full")
    if isinstance(error, ConversionError):
        return error
    if stage == "importing":
        return ConversionError("import_failed", "blender could not read the model")
    if stage == "exporting":
        return ConversionError("export_failed", "blender could not write the result")
    return ConversionError("internal", "the conversion failed for a reason that is not the model's")


def _disk_is_full() -> bool:
    with contextlib.suppress(OSError):
        disk = os.statvfs("out")
        return disk.f_bavail * disk.f_frsize < _NO_ROOM or (disk.f_files > 0 and disk.f_favail == 0)
    return False


def _causes(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in causes:
        causes.append(following)
        following = following.__cause__ or following.__context__
    return causes


def _write_report(report: dict) -> int:
    try:
        text = json.dumps(report, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError):
        traceback.print_exc()
        text = json.dumps({"outcome": "failed", "code": "internal", "detail": "the report could not be written"})
    try:
        # Names that are no Unicode come from Blender with lone surrogates, which nobody else can read.
        with open("report.json.new", "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        os.rename("report.json.new", "report.json")
    except OSError as error:
        traceback.print_exc()
        return NO_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else NO_REPORT
    return 0
