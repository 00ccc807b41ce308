"""Restricts a child: landlock for files, seccomp for system calls, and no privileges.

All parts are system calls by ``ctypes``, work for root and other users, and need neither capabilities nor user
namespaces. They restrict the calling thread only, so a child enters the sandbox before it starts a thread.
"""

import base64
import contextlib
import ctypes
import importlib.util
import os
import socket
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import linux, thread_limit

LANDLOCK, SECCOMP, THREADS = "landlock", "seccomp", "the thread limit"
_PARTS = (LANDLOCK, SECCOMP, THREADS)
# System calls; their numbers are the same on every architecture.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_CREATE_RULESET_VERSION, _LANDLOCK_RULE_PATH_BENEATH = 1, 1
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, _PR_SET_NO_NEW_PRIVS = 22, 2, 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
# Rights that are refused unless a rule grants them, by the version of landlock that added them. No rule grants making
# devices, sockets, pipes and symbolic links, so that a reader of the result follows no link and waits for no pipe.
_HANDLED_FS = {1: (1 << 13) - 1, 2: _REFER, 3: _TRUNCATE, 5: 1 << 15}
_HANDLED_NET = {4: 0b11}
_HANDLED_SCOPE = {6: 0b11}
_ONLY_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | 1 << 15
_READ = _READ_FILE | _READ_DIR
_CHANGE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE

# Readable besides the engine: shared libraries with their cache, the number of processors, and common devices.
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")
_SYSTEM = (*_LIBRARIES, "/etc/ld.so.cache", "/sys/devices/system/cpu", "/dev/urandom", "/dev/zero")
# Folders that the engine shares with other programs are not readable; its own files are in other folders.
_SHARED = {"/", "/usr", "/usr/bin", "/usr/games", "/usr/local", "/usr/local/bin"}


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scope", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


_OWN_CAPABILITIES = _CapabilityHeader(0x20080522, 0)
_NO_CAPABILITIES = (ctypes.c_uint32 * 6)()


def engine_paths(home: Sequence[str]) -> list[str]:
    """The folders of the engine: ``home``, Python's modules and Blender's files."""
    package = str(Path(__file__).absolute().parents[2])
    stdlib = map(sysconfig.get_path, ("stdlib", "platstdlib"))
    paths = {*home, os.path.join(package, "meshgate_engine"), *stdlib}
    # The folder around the package may contain other files.
    paths.update(path for path in sys.path if os.path.isdir(path) and os.path.abspath(path) != package)
    if "bpy" not in sys.modules:
        found = importlib.util.find_spec("bpy")
        paths.add(os.path.dirname(found.origin) if found and found.origin else "")
    else:
        bpy = sys.modules["bpy"]
        paths.add(os.path.dirname(bpy.__file__ or ""))
        paths.update(bpy.utils.resource_path(kind) for kind in ("LOCAL", "SYSTEM"))
        if bpy.app.binary_path:
            paths.add(os.path.dirname(os.path.realpath(bpy.app.binary_path)))
    real = {os.path.realpath(path) for path in paths if path} - _SHARED
    # Each path costs every child a rule; paths within others need none.
    return sorted(path for path in real if not any(path.startswith(other + os.sep) for other in real))


def enter(
    folder: str, readable: Sequence[str], program: bytes, missing: Sequence[str], channel: socket.socket | None = None
) -> None:
    """Restricts this process for good: it can read ``readable`` and what every program reads, and write in ``folder``.

    The zygote gets the listener that decides about threads through ``channel``. Raises OSError when a part that is not
    in ``missing`` is not available.
    """
    # Seccomp and landlock ask for it.
    linux.call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Root without capabilities cannot raise its limits or ignore permissions of files.
    linux.call("capset", ctypes.byref(_OWN_CAPABILITIES), _NO_CAPABILITIES)
    if THREADS not in missing:
        thread_limit.enter(channel)
    if LANDLOCK not in missing:
        _enter_landlock(folder, readable)
    if SECCOMP not in missing:
        if not program:
            raise OSError("no seccomp program for this machine")
        linux.call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, linux.seccomp_filter(program), 0, 0)


def missing(program: str) -> list[str]:
    """The parts that are not available here, found by trying each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return [part for part in _PARTS if not _can_enter(part, folder, program)]


def decode(program: str) -> bytes:
    """The seccomp program of a hello. Raises ValueError when it is not one."""
    decoded = base64.b64decode(program, validate=True)
    if len(decoded) % 8 or len(decoded) > 8 * 4096:
        raise ValueError("not a seccomp program")
    return decoded


def _can_enter(part: str, folder: str, program: str) -> bool:
    pid = os.fork()
    if pid == 0:
        status = 1
        with contextlib.suppress(Exception):
            others = [other for other in _PARTS if other != part]
            enter(folder, [], decode(program) if part == SECCOMP else b"", others)
            status = 0
        os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def _enter_landlock(folder: str, readable: Sequence[str]) -> None:
    version = linux.call("syscall", _LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    if version < 1:
        # A container's seccomp profile may answer 0 to system calls that it forbids.
        raise OSError("this kernel has no landlock")
    rights = (_HANDLED_FS, _HANDLED_NET, _HANDLED_SCOPE)
    handled = _Ruleset(*(sum(added for since, added in each.items() if since <= version) for each in rights))
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = linux.call("syscall", _LANDLOCK_CREATE_RULESET, ctypes.byref(handled), ctypes.c_size_t(size), 0)
    try:
        for path in (*_SYSTEM, *readable):
            _allow(ruleset, path, _READ & handled.fs)
        _allow(ruleset, "/dev/null", (_READ_FILE | _WRITE_FILE | _TRUNCATE) & handled.fs)
        _allow(ruleset, folder, _CHANGE & handled.fs)
        linux.call("syscall", _LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            access &= _ONLY_FILES
        rule = _PathBeneath(access, parent)
        linux.call("syscall", _LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(parent)
