"""Runs in a child: enters the sandbox, runs one conversion, and writes its report.

A child always ends, whatever its model. The service reads only ``report.json`` and ``out/`` of its files.
"""

import contextlib
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
from . import linux, preload, protocol, sandbox

Progress = Callable[[str, float | None], None]
Run = Callable[[dict, Progress], dict]

# Exit statuses of a child that could not even write its report.
_NO_REPORT, _NO_SPACE = 70, 28
# The descriptors that a child has besides 0, 1 and 2: its progress pipe, and until it is in the sandbox the channel to
# the zygote (``runtime/thread_limit.py``).
_PROGRESS_FD, _CHANNEL_FD = 3, 4
# The hard memory limit minus the soft one, in bytes: writing the report of a met limit takes memory, too.
_MEMORY_RESERVE = 32 << 20
# A disk with fewer free bytes is full.
_NO_ROOM = 64 << 10


@dataclass(frozen=True)
class Setup:
    """The settings that all children of a zygote share; ``load`` returns Blender once it is loaded."""

    sandboxed: bool
    program: bytes
    readable: tuple[str, ...]
    missing: tuple[str, ...]
    load: Callable[[], preload.Blender]
    run: Run


def main(command: dict, setup: Setup, zygote: int, log: int, progress: int, channel: int) -> None:
    """Runs a child, right after the fork. Never returns."""
    status = _NO_REPORT
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
            with contextlib.suppress(BaseException):
                # The report can be read before the kernel frees this process's memory, which takes a while. If the
                # pipe is full, the end of the process tells the zygote.
                os.write(_PROGRESS_FD, b"finished\n")
        os._exit(status)


def flush() -> None:
    """Flushes the buffers of Python and of C."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    linux.libc.fflush(None)


def _detach(zygote: int, log: int, progress: int, channel: int) -> None:
    os.setsid()
    linux.die_with_parent()
    if os.getppid() != zygote:
        os._exit(_NO_REPORT)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    # First to high numbers, so that no descriptor is overwritten before it is copied.
    log, progress, channel = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (log, progress, channel))
    null = os.open("/dev/null", os.O_RDWR)
    for fd, number in ((null, 0), (log, 1), (log, 2), (progress, _PROGRESS_FD), (channel, _CHANNEL_FD)):
        os.dup2(fd, number)
    os.closerange(_CHANNEL_FD + 1, os.sysconf("SC_OPEN_MAX"))
    os.set_blocking(_PROGRESS_FD, False)


def _work(command: dict, setup: Setup) -> int:
    folder, limits = command["folder"], command["limits"]
    os.chdir(folder)
    with contextlib.suppress(FileNotFoundError):
        os.remove("report.json")
    scratch = os.path.join(folder, "tmp")
    os.environ.update(HOME=scratch, TMPDIR=scratch, BLENDER_USER_RESOURCES=scratch)
    # Python may remember the zygote's temporary folder.
    tempfile.tempdir = None
    _set_limits(limits)
    with socket.socket(fileno=_CHANNEL_FD) as channel:
        if setup.sandboxed:
            sandbox.enter(folder, setup.readable, setup.program, setup.missing, channel)
    stage = "importing"

    def progress(name: str, fraction: float | None = None) -> None:
        nonlocal stage
        stage = name
        # A full pipe loses a step of progress.
        with contextlib.suppress(OSError):
            os.write(_PROGRESS_FD, f"{name} {'-' if fraction is None else f'{fraction:.4f}'}\n".encode())

    try:
        task, blender = command["task"], setup.load()
        if "bpy" in sys.modules:
            sys.modules["bpy"].context.preferences.filepaths.temporary_directory = scratch
            if {"vrm", "vrma"} & {task["input_format"], task["output_format"]}:
                for handlers, disabled in blender.vrm_handlers:
                    handlers.extend(disabled)
        report = {"outcome": "succeeded", **setup.run(task, progress)}
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
    # When memory runs out, the kernel kills the child and not the service.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    for kind, soft, hard in (
        (resource.RLIMIT_AS, max(0, limits["memory_bytes"] - _MEMORY_RESERVE), limits["memory_bytes"]),
        (resource.RLIMIT_CPU, limits["cpu_seconds"], limits["cpu_seconds"] + 1),
        (resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"], limits["open_files"]),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        # This process cannot set a limit above its own.
        given = resource.getrlimit(kind)[1]
        if given != resource.RLIM_INFINITY:
            soft, hard = min(soft, given), min(hard, given)
        resource.setrlimit(kind, (soft, hard))


def _check_sizes(largest: int) -> None:
    """Raises OSError for files at the size limit: writers in C do not report that a write was cut short."""
    for folder, _, names in os.walk("out"):
        if any(os.lstat(os.path.join(folder, name)).st_size >= largest for name in names):
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


def _failure(error: BaseException, stage: str) -> ConversionError:
    """The code and sentence for the report; the traceback goes to the log."""
    causes = _causes(error)
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    # Operators of Blender put the traceback of an add-on into the text of a RuntimeError.
    texts = " ".join(str(cause) for cause in causes if not isinstance(cause, ConversionError))
    if any(isinstance(cause, MemoryError) for cause in causes) or "MemoryError" in texts or errno.ENOMEM in numbers:
        return ConversionError("memory_limit", "the conversion needs more memory than allowed")
    if errno.EFBIG in numbers or os.strerror(errno.EFBIG) in texts:
        return ConversionError("output_too_large", "the result is larger than allowed")
    full = numbers & {errno.ENOSPC, errno.EDQUOT} or os.strerror(errno.ENOSPC) in texts
    # Writers in C do not report a full disk, but their files cannot be read back.
    if full or (stage != "importing" and _disk_is_full()):
        return ConversionError("disk_full", "the disk is full")
    if isinstance(error, ConversionError):
        return error
    if stage == "importing":
        return ConversionError("import_failed", "blender could not read the model")
    if stage == "exporting":
        return ConversionError("export_failed", "blender could not write the result")
    return ConversionError("internal", "internal error")


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
        # Names that are not Unicode come from Blender with lone surrogates, which are not valid UTF-8.
        with open("report.json.new", "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        os.rename("report.json.new", "report.json")
    except OSError as error:
        traceback.print_exc()
        return _NO_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else _NO_REPORT
    return 0
