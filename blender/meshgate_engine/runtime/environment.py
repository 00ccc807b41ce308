"""Removes the environment, so that children do not inherit the service's secrets in memory."""

import contextlib
import ctypes
import os

from . import linux

# Variables that Python, the dynamic linker and Blender need to start, by prefix; none is a secret.
_KEPT = ("PATH", "HOME", "LANG", "LC_", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHON", "BLENDER_", "OCIO", "XDG_")


def remove_secrets() -> None:
    """Removes all variables but those in ``_KEPT``, also from the memory that ``/proc/self/environ`` shows."""
    for name in list(os.environ):
        if not name.startswith(_KEPT):
            del os.environ[name]
    with contextlib.suppress(OSError, ValueError, IndexError):
        start, end = map(int, linux.stat("/proc/self/stat")[47:49])
        position = start
        for entry in ctypes.string_at(start, end - start).split(b"\0") if 0 < start < end else ():
            if not entry.decode("utf-8", "replace").startswith(_KEPT):
                ctypes.memset(position, 0, len(entry))
            position += len(entry) + 1


def set_for_children() -> None:
    """Replaces the environment by what all children need."""
    os.environ.clear()
    # Python does not know of variables that libraries have set.
    ctypes.CDLL(None).clearenv()
    os.environ.update(LANG="C.UTF-8", PATH="/usr/bin", BLENDER_VRM_AUTOMATIC_LICENSE_CONFIRMATION="true")
