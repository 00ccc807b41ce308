"""Reports objects that a target cannot hold and that no count shows."""

import bpy

from ..blender_api import scene
from ..errors import ConversionError
from ..job import Job

# Blender's types of objects that few formats hold, in the order of the report.
_KINDS = ("GREASEPENCIL", "POINTCLOUD", "VOLUME", "CURVES", "SPEAKER", "LIGHT_PROBE")


def report_losses(job: Job) -> None:
    """Reports lost objects. Raises ``empty_model`` when nothing else is left."""
    objects = scene.objects()
    lost = [item for item in objects if item.type in _KINDS and item.type not in job.target.objects]
    if objects and len(lost) == len(objects):
        raise ConversionError("empty_model", f"the model has nothing that {job.output_format} holds")
    counts = {kind: sum(item.type == kind for item in lost) for kind in _KINDS}
    counts["hair particles"] = sum(map(_hair_systems, scene.meshes()))
    for kind, count in counts.items():
        job.lose(kind, count, "holds none")


def _hair_systems(item: bpy.types.Object) -> int:
    return sum(
        modifier.type == "PARTICLE_SYSTEM"
        and modifier.show_viewport
        and modifier.particle_system.settings.type == "HAIR"
        and modifier.particle_system.settings.render_type == "PATH"
        for modifier in item.modifiers
    )
