"""Kinds of objects that no count of a report tells, and which targets have no place for them."""

import bpy

from ..blender_api import scene
from ..errors import ConversionError
from ..job import Job

# Kind of object -> what it is called, one and many.
_KINDS = {
    "GREASEPENCIL": ("grease pencil drawing", "grease pencil drawings"),
    "POINTCLOUD": ("point cloud", "point clouds"),
    "VOLUME": ("volume", "volumes"),
    "CURVES": ("group of hair curves", "groups of hair curves"),
    "SPEAKER": ("speaker", "speakers"),
    "LIGHT_PROBE": ("light probe", "light probes"),
}


def report_losses(job: Job) -> None:
    """Says which objects are lost. Raises ``empty_model`` when these are all."""
    objects = scene.objects()
    lost = [item for item in objects if item.type in _KINDS and item.type not in job.target.objects]
    if objects and len(lost) == len(objects):
        raise ConversionError("empty_model", f"the model has nothing that {job.output_format} holds")
    for kind, (one, many) in _KINDS.items():
        _report(job, sum(item.type == kind for item in lost), one, many)
    _report(job, sum(map(_hairs, scene.meshes())), "hair particle system", "hair particle systems")


def _hairs(item: bpy.types.Object) -> int:
    return sum(
        modifier.type == "PARTICLE_SYSTEM"
        and modifier.show_viewport
        and modifier.particle_system.settings.type == "HAIR"
        and modifier.particle_system.settings.render_type == "PATH"
        for modifier in item.modifiers
    )


def _report(job: Job, count: int, one: str, many: str) -> None:
    if count:
        job.lose(f"{count} {one if count == 1 else many}: {job.output_format} holds none")
