"""What happens between import and export: the options, and what exporters do not do by themselves."""

from .animation import bake_caches, clip_export, clip_playback, rest_pose, sample_limit
from .blender_api import object_replacement, scene
from .errors import ConversionError
from .geometry import modifiers, triangle_count
from .geometry.triangulate import triangulate
from .geometry.unit_scale import scale
from .job import Job
from .report import animation_losses, object_losses

# Targets that are nothing without motion.
_MOTION = {"vrma", "bvh"}

# Targets that are nothing without a mesh, and the objects that some hold in its place.
_MESH = {"obj": {"CURVE"}, "stl": set(), "ply": set(), "abc": {"CURVE", "CURVES"}, "vrm": set()}


def apply(job: Job) -> None:
    """Applies the options to the scene and readies it for the target."""
    if job.output_format in _MESH and not (_holds_lines(job.output_format) or triangle_count.has_vertices()):
        raise ConversionError("empty_model", "the model has no mesh")
    if job.output_format != "blend":
        object_losses.report_losses(job)
    if not job.animation:
        if job.output_format in _MOTION:
            raise ConversionError(
                "no_animation", f"{job.output_format} is animation, and the option animation is false"
            )
        clip_playback.remove_animation()
    sample_limit.check(job)
    factor = job.scale if job.output_format == "blend" else job.scale * scene.use_metres()
    if job.output_format != "blend" or factor != 1.0 or bake_caches.still_reads_file(job.input_format):
        modifiers.apply(job, scaled=factor != 1.0)
    bake_caches.remove_unused_caches(job.output_format)
    if factor != 1.0:
        scale(job, factor)
    if job.triangulate and job.output_format == "blend":
        triangulate()
    if job.output_format in rest_pose.STATIC:
        # Of a moving model the rest pose, and not whichever frame is the current one.
        clip_playback.remove_animation()
    if job.output_format in {"glb", "vrm"}:
        object_replacement.detach_outsiders()
    if job.output_format != "blend":
        animation_losses.report_losses(job)
        rest_pose.key_static_pose(job.output_format)
    clip_export.prepare(job.output_format)
    rest_pose.report_pose(job)


def _holds_lines(target: str) -> bool:
    return any(item.type in _MESH[target] for item in scene.objects())
