"""One conversion from the model's file to the result's, in a process of its own."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy

from . import avatar, formats, measure, process, scene, textures, weights
from .errors import ConversionError
from .job import Job

Progress = Callable[[str, float | None], None]


def run(task: dict, progress: Progress) -> dict:
    """Does the ``task`` of the protocol; the working directory is the conversion's folder, the scene is empty.

    Returns what ``report.json`` says of a success. Raises ConversionError.
    """
    job = Job.from_task(task)
    timings: dict[str, float] = {}

    progress("importing", None)
    with _timed(timings, "import_ms"):
        importer = formats.module(job.input_format).read(job)
        if not scene.objects():
            raise ConversionError("empty_model", "the model has no object")
        missing = textures.relink(job)
    for name in missing:
        job.warn(f"a texture was not found: {name}")

    progress("processing", None)
    with _timed(timings, "process_ms"):
        found = measure.counts(missing)
        avatar.say_lost(job)
        process.apply(job)

    progress("exporting", None)
    with _timed(timings, "export_ms"):
        Path(job.output).parent.mkdir(parents=True, exist_ok=True)
        textures.prepare_for_export(job)
        packed, named = 0, textures.names()
        if job.output_format in {"glb", "vrm"}:
            packed = textures.packed(textures.materials(scene.objects()))
            if packed:
                count = f"{packed} texture{'s' if packed > 1 else ''}"
                job.warn(f"{count} became channels of others, as glTF keeps metal and roughness, colour and alpha")
            weights.tell(job)
        formats.module(job.output_format).write(job)

    produced = None
    with _timed(timings, "check_ms"):
        if task["read_back"]:
            produced = _read_back(job)
        _name_lost_textures(job, named, produced)

    return {
        "input": found,
        "output": produced,
        "importer": importer,
        "packed_textures": packed,
        "losses": job.losses,
        "warnings": job.warnings,
        **timings,
    }


def _name_lost_textures(job: Job, named: list[str], produced: dict | None) -> None:
    if produced is None and job.output_format in {"obj", "glb", "vrm"}:
        textures.tell_lost(job, named, textures.written(job))
    elif produced is not None and produced["textures"]:
        textures.tell_lost(job, named, textures.names())


def _read_back(job: Job) -> dict:
    """Counts what the result's file holds."""
    module = formats.module(job.output_format)
    if hasattr(module, "count"):
        return module.count(job)
    back = job.reading_back()
    render = bpy.context.scene.render
    rate = render.fps, render.fps_base
    try:
        scene.clear()
        # Where the file says nothing of its frames per second, they are those it was written with.
        bpy.context.scene.render.fps, bpy.context.scene.render.fps_base = rate
        module.read(back)
    except ConversionError as error:
        raise ConversionError("export_failed", f"the {job.output_format} file written cannot be read") from error
    return measure.counts(textures.missing())


@contextlib.contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[name] = round((time.perf_counter() - start) * 1000, 3)
