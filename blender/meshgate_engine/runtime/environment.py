"""Forgets the environment: a child must not find the service's secrets in the memory that it inherits."""

import contextlib
import ctypes
import os

# What Python, the dynamic linker and Blender need to start; no secret is given by these names.
_KEPT = ("PATH", "HOME", "LANG", "LC_", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHON", "BLENDER_", "OCIO", "XDG_")


def remove_secrets() -> None:
    """Removes all else, also from the memory that ``/proc/self/environ`` shows."""
    for name in list(os.environ):
        if not name.startswith(_KEPT):
            del os.environ[name]
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open("/proc/self/stat") as file:
            # The 50th and 51st field; the name, in parentheses, may hold anything.
            start, end = map(int, file.read().rpartition(")")[2].split()[47:49])
        position = start
        for entry in ctypes.string_at(start, end - start).split(b"\0") if 0 < start < end else ():
            if not entry.decode("utf-8", "replace").startswith(_KEPT):
                ctypes.memset(position, 0, len(entry))
            position += len(entry) + 1


def set_for_children() -> None:
    """Leaves what children need and what is the same for all of them."""
    os.environ.clear()
    # Also what libraries have put there by themselves.
    ctypes.CDLL(None).clearenv()
    os.environ.update(LANG="C.UTF-8", PATH="/usr/bin", BLENDER_VRM_AUTOMATIC_LICENSE_CONFIRMATION="true")
