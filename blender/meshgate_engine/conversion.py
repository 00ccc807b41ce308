"""Converts one model: all steps, and their order."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import bpy

from . import formats
from .animation import bake, bake_caches, clip_export, clip_playback, clips, mesh_animation, rest_pose, sample_limit
from .blender_api import object_replacement, scene, visibility
from .capabilities import Clips
from .errors import ConversionError
from .geometry import modifiers, realize_instances, triangles, unit_scale
from .humanoid import vrm0_to_vrm1
from .job import Job, counted
from .materials import principled, texture_export, texture_files, texture_usage, udim, uv_transforms
from .report import animation_losses, losses, object_losses, statistics, texture_losses


@dataclass
class Conversion(Job):
    """A job and the values that its steps hand to later ones."""

    most_triangles: int | None = None
    read_back: bool = False
    importer: str = ""
    missing_textures: list[str] = field(default_factory=list)
    input_counts: dict = field(default_factory=dict)
    result_counts: dict | None = None  # None where the result is not read back
    scene_scale: float = 1.0  # the factor of all lengths
    # Image made for the export -> the image that it is a channel of.
    baked_images: dict[bpy.types.Image, bpy.types.Image] = field(default_factory=dict)
    # The names of the textures before the export, and those of ``baked_images``.
    texture_names: list[str] = field(default_factory=list)
    baked_names: dict[str, str] = field(default_factory=dict)
    merged_textures: int = 0
    assigned_clips: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """One step of a conversion; ``applies`` is called right before it, and decides whether it runs."""

    name: str
    run: Callable[[Conversion], None]
    applies: Callable[[Conversion], bool] = lambda _job: True


def run(task: dict, progress: Callable[[str, float | None], None]) -> dict:
    """Carries out a ``task`` of the protocol; the working directory is the conversion's folder, the scene is empty.

    Returns the fields of ``report.json`` for a success. Prints how long each step took. Raises ConversionError.
    """
    job = Conversion.from_task(task)
    job.most_triangles, job.read_back = task["most_triangles"], task["read_back"]
    milliseconds = {}
    step_times: Counter[str] = Counter()
    try:
        for stage, steps in STEPS.items():
            if stage != "checking":
                progress(stage, None)
            start = time.perf_counter()
            for step in steps:
                _run_step(step, job, step_times)
            milliseconds[TIMINGS[stage]] = round((time.perf_counter() - start) * 1000, 3)
    finally:
        # For the operator, in the child's log; also where a step fails.
        spent = (f"{name.replace(' ', '_')}={seconds * 1000:.0f}" for name, seconds in step_times.items())
        print("steps in ms:", *spent, flush=True)
    return {
        "input": job.input_counts,
        "output": job.result_counts,
        "importer": job.importer,
        "packed_textures": job.merged_textures,
        "losses": list(dict.fromkeys(losses.sentence(loss, job.output_format) for loss in job.losses)),
        "warnings": job.warnings,
        **milliseconds,
    }


def _run_step(step: Step, job: Conversion, step_times: Counter[str]) -> None:
    """Runs a step if it applies, and adds the seconds that it took to ``step_times``."""
    start = time.perf_counter()
    try:
        if step.applies(job):
            step.run(job)
            step_times[step.name] += time.perf_counter() - start
    except Exception as error:
        step_times[step.name] += time.perf_counter() - start
        # The log shows it below the traceback.
        error.add_note(f"in the step: {step.name}")
        raise


def _read(job: Conversion) -> None:
    job.importer = formats.module(job.input_format).read(job)


def _refuse_empty(job: Conversion) -> None:
    if not scene.objects():
        raise ConversionError("empty_model", "the model has no object")


def _refuse_large(job: Conversion) -> None:
    """Refuses a model whose result is certain to be too large, before time is spent on it."""
    if job.most_triangles is not None and triangles.has_more_than(job.most_triangles):
        raise ConversionError("output_too_large", "the result is larger than allowed")


def _find_textures(job: Conversion) -> None:
    job.missing_textures = texture_files.relink(job)
    for name in job.missing_textures:
        job.warn(f"a texture was not found: {name}")


def _count(job: Conversion) -> None:
    job.input_counts = statistics.counts(job.missing_textures)


def _refuse_without_mesh(job: Conversion) -> None:
    has_substitute = any(item.type in job.target.instead_of_mesh for item in scene.objects())
    if not (has_substitute or triangles.has_vertices()):
        raise ConversionError("empty_model", "the model has no mesh")


def _remove_animation(job: Conversion) -> None:
    if job.target.clips is Clips.SKELETON:
        raise ConversionError("no_animation", f"{job.output_format} is animation, and the option animation is false")
    clip_playback.remove_animation()


def _choose_scale(job: Conversion) -> None:
    """A .blend keeps its unit; in everything else one unit is a metre."""
    job.scene_scale = job.scale if _to_blend(job) else job.scale * scene.use_metres()


def _remember_texture_names(job: Conversion) -> None:
    """Remembers the names of the textures that the exporter gets."""
    job.baked_names = {texture_files.name(made): texture_files.name(of) for made, of in job.baked_images.items()}
    job.texture_names = [name for name in texture_losses.names_in_scene() if name not in job.baked_names]


def _link_images(job: Conversion) -> None:
    job.baked_images = principled.link_images_directly(job)


def _count_merged(job: Conversion) -> None:
    job.merged_textures = texture_usage.merged_by_gltf()
    if job.merged_textures:
        kept = "occlusion, metal and roughness, colour and alpha"
        job.warn(f"{counted(job.merged_textures, 'texture')} became channels of others, as glTF keeps {kept}")


def _write(job: Conversion) -> None:
    job.assigned_clips = [clip.name for clip in clips.find() if clips.is_assigned(clip)]
    formats.module(job.output_format).write(job)


def _read_back(job: Conversion) -> None:
    """Counts what the result's file holds."""
    render = bpy.context.scene.render
    rate = render.fps, render.fps_base
    try:
        scene.clear()
        # A file without a frame rate was written with the one of the scene.
        render = bpy.context.scene.render
        render.fps, render.fps_base = rate
        formats.module(job.output_format).read(job.reading_back())
    except ConversionError as error:
        raise ConversionError("export_failed", f"the {job.output_format} file written cannot be read") from error
    job.result_counts = statistics.counts(texture_files.missing())
    if not job.result_counts["objects"]:
        raise ConversionError("empty_model", f"the model has nothing that {job.output_format} holds")


def _report_lost_textures(job: Conversion) -> None:
    names = texture_losses.names_in_scene() if job.read_back else texture_losses.names_in_result(job)
    texture_losses.report_lost(job, job.texture_names, names, job.baked_names)


def _report_lost_clips(job: Conversion) -> None:
    before, after = ([clip["name"] for clip in each["clips"]] for each in (job.input_counts, job.result_counts))
    animation_losses.report_lost_clips(job, before, job.assigned_clips, after)


def _to_blend(job: Conversion) -> bool:
    return job.target.is_native


def _to_other_formats(job: Conversion) -> bool:
    return not job.target.is_native


def _blend_to_other_formats(job: Conversion) -> bool:
    return job.source.is_native and _to_other_formats(job)


def _is_scaled(job: Conversion) -> bool:
    return job.scene_scale != 1.0


def _needs_modifiers_applied(job: Conversion) -> bool:
    # Blender reads meshes that change over time from the source file, which a .blend does not contain.
    has_caches = job.source.changing_meshes and bake_caches.has_cached_meshes()
    return _to_other_formats(job) or _is_scaled(job) or has_caches


def _shows_textures(job: Conversion) -> bool:
    return job.target.textures and job.read_back != job.target.counted_by_service


def _writes_materials(job: Conversion) -> bool:
    return job.target.materials and not (job.target.materials_beside and job.packaging == "single")


# The report's name of the time that a stage took.
TIMINGS = {"importing": "import_ms", "processing": "process_ms", "exporting": "export_ms", "checking": "check_ms"}

STEPS = {
    "importing": (
        Step("read the file", _read),
        Step("report other scenes", scene.report_other_scenes, _blend_to_other_formats),
        Step("report motion of curves and particles", mesh_animation.report_lost_motion, _blend_to_other_formats),
        Step("bake what constraints and drivers move", bake.bake_scene, _blend_to_other_formats),
        # Before hidden objects are removed: instanced objects often are hidden.
        Step("realize instances", realize_instances.realize, _blend_to_other_formats),
        Step("remove hidden objects", visibility.remove_hidden, _blend_to_other_formats),
        Step("refuse an empty model", _refuse_empty),
        Step("refuse a large model", _refuse_large),
        # Again for a .blend, whose hidden objects may be visible now.
        Step("realize instances", realize_instances.realize, _to_other_formats),
        Step("find textures", _find_textures),
    ),
    "processing": (
        Step("count the scene", _count),
        Step("report lost expressions and springs", vrm0_to_vrm1.report_losses),
        Step("refuse a model without mesh", _refuse_without_mesh, lambda job: job.target.instead_of_mesh is not None),
        Step("report lost objects", object_losses.report_lost_objects, _to_other_formats),
        Step("remove animation", _remove_animation, lambda job: not job.animation),
        Step("refuse long motion", sample_limit.check),
        Step("choose the scale", _choose_scale),
        Step("apply modifiers", lambda job: modifiers.apply(job, scaled=_is_scaled(job)), _needs_modifiers_applied),
        Step("remove unused caches", lambda _job: bake_caches.remove_unused_caches(), _to_blend),
        Step("scale", lambda job: unit_scale.scale(job, job.scene_scale), _is_scaled),
        # Other exporters triangulate by themselves.
        Step("triangulate", lambda _job: triangles.triangulate(), lambda job: job.triangulate and _to_blend(job)),
        # A static result is the rest pose, and not the current frame.
        Step("go to rest", lambda _job: clip_playback.remove_animation(), lambda job: job.target.is_static),
        Step(
            "detach objects out of the scene",
            lambda _job: object_replacement.detach_out_of_scene_objects(),
            lambda job: job.target.uses_gltf_exporter,
        ),
        Step("report lost parts of clips", animation_losses.report_losses, _to_other_formats),
        Step("key static poses", lambda job: rest_pose.key_static_pose(job.target), _to_other_formats),
        Step("prepare clips", lambda job: clip_export.prepare(job.target)),
        Step("report poses", rest_pose.report_pose),
    ),
    "exporting": (
        Step("split tiles", udim.split_tiles),
        Step("drop unreadable textures", texture_export.drop_unreadable),
        Step("report lost features of materials", object_losses.report_lost_features, _writes_materials),
        Step("bake UV transforms", uv_transforms.apply, _writes_materials),
        Step("link images directly", _link_images, _writes_materials),
        Step("write files of textures", texture_export.write_files),
        Step("remember names of textures", _remember_texture_names),
        Step("count merged textures", _count_merged, lambda job: job.target.uses_gltf_exporter),
        Step("report lost bone weights", object_losses.report_lost_weights),
        Step("write the file", _write),
    ),
    "checking": (
        Step("read the result", _read_back, lambda job: job.read_back),
        Step("report lost textures", _report_lost_textures, _shows_textures),
        Step("report lost clips", _report_lost_clips, lambda job: job.read_back and job.target.clips is Clips.TIMELINE),
    ),
}
