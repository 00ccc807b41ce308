"""Runs Blender in forked children, since its state is global and it may crash."""

import os
import pickle
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
from meshgate_engine.errors import ConversionError

OPTIONS = {
    "packaging": "auto",
    "animation": True,
    "scale": 1.0,
    "triangulate": False,
    "draco": False,
    "engine": "auto",
}


class ChildError(Exception):
    """The child raised an exception, crashed or timed out."""


def in_child(work: Callable[..., Any], *arguments: Any, timeout: float = 120, **named: Any) -> Any:
    """The result of ``work(*arguments)`` in a forked child with an empty scene."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        status = 1
        try:
            try:
                _empty_scene()
                answer = ("returned", work(*arguments, **named))
            except ConversionError as error:
                answer = ("failed", (error.code, error.detail))
            except BaseException as error:
                traceback.print_exc()
                answer = ("raised", error)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(answer, pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    received = _drain(reading, pid, timeout)
    _pid, status = os.waitpid(pid, 0)
    if status != 0 or not received:
        raise ChildError(f"the child ended with status {status}")
    kind, value = pickle.loads(received)
    if kind == "failed":
        raise ConversionError(*value)
    if kind == "raised":
        raise value
    return value


def convert(
    folder: Path,
    source: Path,
    target: str,
    *,
    source_format: str | None = None,
    beside: dict[str, Path] | None = None,
    importer: str = "usual",
    read_back: bool = True,
    most_triangles: int | None = None,
    **options: Any,
) -> dict:
    """The report of converting ``source`` to ``folder/out/model.TARGET``; raises what the conversion raises.

    ``beside`` are further files of the model by their path under ``in/``.
    """
    for name in ("in", "out", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, folder / "in" / source.name)
    for name, file in (beside or {}).items():
        place = folder / "in" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    task = {
        "input": f"in/{source.name}",
        "input_format": source_format or source.suffix[1:].lower(),
        "output": f"out/model.{target}",
        "output_format": target,
        "options": {**OPTIONS, **options},
        "read_back": read_back,
        "importer": importer,
        "most_triangles": most_triangles,
    }
    return in_child(_convert, folder, task)


def build(folder: Path, builder: Callable[[], None], name: str = "source.blend", *, as_blender_does=False) -> Path:
    """Saves what ``builder`` makes in an empty scene as ``folder/name``, in the format of its extension.

    A .blend is saved like a result, without scripts and with packed textures, or ``as_blender_does``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    in_child(_save if as_blender_does else _build, path, builder)
    return path


def result(folder: Path, target: str) -> Path:
    """The file that ``convert`` made in ``folder``."""
    return folder / "out" / f"model.{target}"


def _convert(folder: Path, task: dict) -> dict:
    from meshgate_engine import conversion

    os.chdir(folder)
    stages: list[str] = []
    report = conversion.run(task, lambda stage, _fraction: stages.append(stage))
    return {**report, "stages": stages}


def _build(path: Path, builder: Callable[[], None]) -> None:
    from meshgate_engine import formats
    from meshgate_engine.job import Job

    builder()
    target = path.suffix[1:]
    formats.module(target).write(Job("", "", str(path), target))


def _save(path: Path, builder: Callable[[], None]) -> None:
    builder()
    bpy.ops.wm.save_as_mainfile(filepath=str(path.absolute()), check_existing=False, relative_remap=False)


def _empty_scene() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)


def _drain(reading: int, pid: int, timeout: float) -> bytes:
    received = bytearray()
    deadline = time.monotonic() + timeout
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while True:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise ChildError(f"the child did not end within {timeout} s")
            chunk = pipe.read(1 << 20)
            if not chunk:
                return bytes(received)
            received += chunk
