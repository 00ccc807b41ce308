"""Vertices that many bones move: glTF viewers read four weights a vertex, and so many are written."""

import bpy

from ..blender_api import scene
from ..job import Job

_MOST = 4


def report_losses(job: Job) -> None:
    """Says on how many vertices weights are left out."""
    count = sum(_overweighted_vertices(item) for item in scene.meshes() if item.find_armature())
    if count:
        noun = "vertex" if count == 1 else "vertices"
        job.lose(f"bone weights of {count} {noun}: {job.output_format} is written with the {_MOST} largest of each")


def _overweighted_vertices(item: bpy.types.Object) -> int:
    bones = item.find_armature().data.bones
    deforming = {group.index for group in item.vertex_groups if group.name in bones and bones[group.name].use_deform}
    return sum(
        sum(weight.group in deforming and weight.weight > 0 for weight in vertex.groups) > _MOST
        for vertex in item.data.vertices
        if len(vertex.groups) > _MOST
    )
