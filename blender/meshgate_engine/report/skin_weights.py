"""Reports vertices with more bone weights than a target holds: glTF viewers read four a vertex."""

import bpy

from ..blender_api import scene
from ..job import Job


def report_losses(job: Job) -> None:
    """Reports how many vertices lose weights."""
    most = job.target.bone_weights
    if most is None:
        return
    count = sum(_vertices_above(most, item) for item in scene.meshes() if item.find_armature())
    job.lose("bone weights", count, "largest weights", name=str(most))


def _vertices_above(most: int, item: bpy.types.Object) -> int:
    """How many vertices of a mesh have weights of more than ``most`` deforming bones."""
    bones = item.find_armature().data.bones
    deforming = {group.index for group in item.vertex_groups if group.name in bones and bones[group.name].use_deform}
    return sum(
        sum(weight.group in deforming and weight.weight > 0 for weight in vertex.groups) > most
        for vertex in item.data.vertices
        if len(vertex.groups) > most
    )
