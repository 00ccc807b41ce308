"""One conversion from the model's file to the result's, in a process of its own."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy

from . import capabilities, formats, process
from .animation import clips
from .blender_api import scene
from .errors import ConversionError
from .geometry import realize_instances, triangle_count
from .humanoid import vrm0_to_vrm1
from .job import Job, counted, listed
from .materials import principled, texture_export, texture_files, texture_usage, udim, uv_transforms
from .report import material_losses, skin_weights, statistics, texture_losses

# Targets that hold textures, and are read back; of the others the service says that they hold none.
_TEXTURED = capabilities.USD | {"fbx", "blend"}

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
        _check_size(task["most_triangles"])
        if job.output_format != "blend":
            # Of a .blend, what was hidden and is shown now.
            realize_instances.realize(job)
        missing = texture_files.relink(job)
    for name in missing:
        job.warn(f"a texture was not found: {name}")

    progress("processing", None)
    with _timed(timings, "process_ms"):
        found = statistics.counts(missing)
        vrm0_to_vrm1.report_losses(job)
        process.apply(job)

    progress("exporting", None)
    with _timed(timings, "export_ms"):
        Path(job.output).parent.mkdir(parents=True, exist_ok=True)
        udim.split_tiles(job)
        texture_export.drop_unreadable(job)
        made = _settle_materials(job)
        texture_export.write_files(job)
        parts = {texture_files.name(part): texture_files.name(whole) for part, whole in made.items()}
        packed, named = 0, [name for name in texture_losses.names_in_scene() if name not in parts]
        if job.output_format in {"glb", "vrm"}:
            packed = texture_usage.merged_by_gltf(texture_usage.materials(scene.objects()))
            if packed:
                kept = "occlusion, metal and roughness, colour and alpha"
                job.warn(f"{counted(packed, 'texture')} became channels of others, as glTF keeps {kept}")
            skin_weights.report_losses(job)
        shown = [clip.name for clip in clips.find(bpy.context.scene) if clips.is_assigned(clip)]
        formats.module(job.output_format).write(job)

    produced = None
    with _timed(timings, "check_ms"):
        if task["read_back"]:
            produced = _read_back(job)
        _name_lost_textures(job, named, parts, produced)
        _name_lost_clips(job, [clip["name"] for clip in found["clips"]], shown, produced)

    return {
        "input": found,
        "output": produced,
        "importer": importer,
        "packed_textures": packed,
        "losses": job.losses,
        "warnings": job.warnings,
        **timings,
    }


def _check_size(most_triangles: int | None) -> None:
    """Refuses a model whose result would surely be too large, before anything is made of it."""
    if most_triangles is not None and triangle_count.has_more_triangles(most_triangles):
        raise ConversionError("output_too_large", "the result is larger than allowed")


def _settle_materials(job: Job) -> dict[bpy.types.Image, bpy.types.Image]:
    """Readies the materials for a target that holds any, and says what of them it does not; as ``shaders.simplify``."""
    if not capabilities.of(job.output_format).materials or (job.output_format == "obj" and job.packaging == "single"):
        return {}
    material_losses.report_losses(job)
    uv_transforms.apply(job)
    return principled.link_images_directly(job)


def _name_lost_textures(job: Job, named: list[str], parts: dict[str, str], produced: dict | None) -> None:
    if produced is None and job.output_format in {"obj", "glb", "vrm"}:
        texture_losses.report_lost(job, named, texture_losses.names_in_result(job), parts)
    elif produced is not None and job.output_format in _TEXTURED:
        texture_losses.report_lost(job, named, texture_losses.names_in_scene(), parts)


def _name_lost_clips(job: Job, names: list[str], shown: list[str], produced: dict | None) -> None:
    """Tells what becomes of several clips in a format of one timeline.

    Of one that goes by another name in the result: USD changes what is no identifier, as ``Run|fast``, and Alembic
    has no names.
    """
    if job.output_format not in clips.ONE_TIMELINE or produced is None or len(produced["clips"]) != 1:
        return
    lost = [name for name in names if name not in shown]
    without = f": without {', '.join(lost)}" if lost else ""
    if len(shown) > 1:
        job.lose(f"{len(names)} clips: {job.output_format} holds one, in which {listed(shown)} play together{without}")
    elif produced["clips"][0]["name"] not in names and len(lost) == len(names) - 1 > 0:
        job.lose(f"{len(lost)} of {len(names)} clips: {job.output_format} holds one{without}")


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
    found = statistics.counts(texture_files.missing())
    if not found["objects"]:
        raise ConversionError("empty_model", f"the model has nothing that {job.output_format} holds")
    return found


@contextlib.contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[name] = round((time.perf_counter() - start) * 1000, 3)
