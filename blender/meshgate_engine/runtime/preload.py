"""Loads Blender once, and prepares it for the children."""

import contextlib
import ctypes
import gc
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import linux

_VRM_ADDON, _VRM_DISTRIBUTION = "io_scene_vrm", "bpy-vrm-format"
_HUGE_PAGE, _MADV_COLLAPSE = 2 << 20, 25


@dataclass(frozen=True)
class Blender:
    """A Blender: its version, the VRM add-on's (empty without one), and that add-on's handlers while they are off."""

    version: str
    vrm_addon: str
    # Blender's lists of handlers, each with those that were removed from it; conversions from or to VRM need them.
    vrm_handlers: tuple[tuple[list, list], ...] = ()


def load() -> Blender:
    """Loads Blender with an empty scene."""
    # The service must not use the settings and add-ons of the user who runs it.
    with tempfile.TemporaryDirectory(prefix="meshgate-engine-") as folder:
        os.environ["BLENDER_USER_RESOURCES"] = folder
        # Blender saves the home folder with every .blend, as a part of its interface.
        os.environ["HOME"] = "/"
        bpy = importlib.import_module("bpy")
        bpy.ops.wm.read_factory_settings(use_empty=True)
        vrm_addon = _enable_vrm(bpy)
        return Blender(bpy.app.version_string.split()[0], vrm_addon, tuple(_disable_vrm_handlers(bpy)))


def prepare_for_forks() -> None:
    """Prepares a loaded Blender for forks: removes threads that children would wait for, and the temporary folder."""
    bpy = sys.modules["bpy"]
    _stop_openexr_threads()
    # Each child has its own temporary folder; a killed zygote would leave this one behind.
    with contextlib.suppress(OSError):
        os.rmdir(bpy.app.tempdir)
    gc.freeze()


def tidy() -> None:
    """Makes forks cheaper. It takes a tenth of the whole start, so the zygote does it when it is idle."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    with contextlib.suppress(AttributeError):
        linux.libc.malloc_trim(0)
    _collapse_into_huge_pages()


def _collapse_into_huge_pages() -> None:
    """Collapses the memory of this process into huge pages.

    A fork copies a table entry for each page, and the end of a child frees it: with 30,000 small pages that is half the
    time of a small conversion. A page that a child writes to is split, for that child alone. Linux 6.1 and later;
    elsewhere the call does nothing.
    """
    with open("/proc/self/maps") as maps:
        regions = [line.split() for line in maps if " rw-p " in line and line.split()[4] == "0"]
    for region in regions:
        start, end = (int(address, 16) for address in region[0].split("-"))
        start, end = -(-start // _HUGE_PAGE) * _HUGE_PAGE, end // _HUGE_PAGE * _HUGE_PAGE
        if start < end:
            linux.libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_COLLAPSE)


def _disable_vrm_handlers(bpy) -> Iterator[tuple[list, list]]:
    """Takes the VRM add-on's handlers out of Blender's lists; returns each list with those that it had.

    At the first change of any scene the add-on would append its shaders to it, which end up in a .blend and cost as
    much time as a small conversion. Cause: ``mtoon1_handler.depsgraph_update_post``, which ``registration.py`` adds.
    Upstream: https://github.com/saturday06/VRM-Addon-for-Blender/issues/989. VRM add-on 4.10.2; it can go when the
    add-on has an option to append no shaders. Not by ``patched``, since it lasts until a child needs the add-on.
    """
    for name in dir(bpy.app.handlers):
        handlers = getattr(bpy.app.handlers, name)
        if isinstance(handlers, list):
            disabled = [each for each in handlers if each.__module__.startswith(_VRM_ADDON)]
            handlers[:] = [each for each in handlers if each not in disabled]
            yield handlers, disabled


def find() -> Blender:
    """The Blender that ``load`` would load, without loading it. Raises ImportError without Blender."""
    if importlib.util.find_spec("bpy") is None:
        raise ImportError("no module named bpy")
    bpy = sys.modules.get("bpy")
    return Blender(bpy.app.version_string.split()[0] if bpy else importlib.metadata.version("bpy"), _vrm_version())


def _enable_vrm(bpy) -> str:
    # After the factory settings, which disable add-ons; by the operator, which makes the add-on's preferences.
    with contextlib.suppress(Exception):
        if bpy.ops.preferences.addon_enable(module=_VRM_ADDON) == {"FINISHED"} and _VRM_ADDON in sys.modules:
            return _vrm_version()
    return ""


def _vrm_version() -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(_VRM_DISTRIBUTION)
    info = getattr(sys.modules.get(_VRM_ADDON), "bl_info", {})
    return ".".join(str(part) for part in info.get("version", ()))


def _stop_openexr_threads() -> None:
    """Empties OpenEXR's thread pool: a forked child does not have its threads, and would wait for them for ever."""
    with open("/proc/self/maps") as maps:
        paths = {line.split(maxsplit=5)[5].strip() for line in maps if line.count("/")}
    # The mangled name of ``Imf::setGlobalThreadCount(int)``, whose namespace contains the version.
    name = b"setGlobalThreadCountEi"
    for path in (path for path in paths if "libOpenEXR.so" in path or "libOpenEXR-" in path):
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(path)
            for before in Path(path).read_bytes().split(name)[:-1]:
                symbol = before.rpartition(b"\0")[2] + name
                with contextlib.suppress(AttributeError):
                    getattr(library, symbol.decode("ascii", "replace"))(0)
