"""Reports objects, bone weights and features of materials that a target cannot hold and that are in no count."""

from collections import Counter

import bpy

from ..blender_api import scene
from ..errors import ConversionError
from ..job import Job
from ..materials import features, texture_usage

# Blender's types of objects that few formats hold, in the order of the report.
_KINDS = ("GREASEPENCIL", "POINTCLOUD", "VOLUME", "CURVES", "SPEAKER", "LIGHT_PROBE")


def report_lost_objects(job: Job) -> None:
    """Reports lost objects. Raises ``empty_model`` when nothing else is left."""
    objects = scene.objects()
    lost = [item for item in objects if item.type in _KINDS and item.type not in job.target.objects]
    if objects and len(lost) == len(objects):
        raise ConversionError("empty_model", f"the model has nothing that {job.output_format} holds")
    counts = {kind: sum(item.type == kind for item in lost) for kind in _KINDS}
    counts["hair particles"] = sum(map(_hair_systems, scene.meshes()))
    for kind, count in counts.items():
        job.lose(kind, count, "holds none")


def report_lost_features(job: Job) -> None:
    """Reports features of the scene's materials that the target does not hold."""
    row = job.target
    lost = Counter()
    for material in texture_usage.scene_materials():
        for word, is_texture in features.found_in(job, material).items():
            held = word in row.material_features and (row.textured_features or not is_texture)
            lost[word] += not held
    for word, count in sorted(lost.items()):
        reason = "not written" if word in row.unwritten_features else "holds none"
        job.lose("feature", count, reason, name=word)


def report_lost_weights(job: Job) -> None:
    """Reports vertices with more bone weights than the target holds: glTF viewers read four a vertex."""
    most = job.target.bone_weights
    if most is not None:
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


def _hair_systems(item: bpy.types.Object) -> int:
    shown = [each for each in item.modifiers if each.type == "PARTICLE_SYSTEM" and each.show_viewport]
    kinds = [modifier.particle_system.settings for modifier in shown]
    return sum(kind.type == "HAIR" and kind.render_type == "PATH" for kind in kinds)
