"""Counts what the scene holds: the ``Counts`` of ``src/domain/report.rs``."""

import bpy
import numpy as np

from ..animation import bake_caches, clips
from ..blender_api import arrays, attributes, scene
from ..materials import texture_usage


def counts(missing_textures: list[str]) -> dict:
    """Counts the scene as exporters see it: modifiers applied, instances realized, skeletons at rest."""
    objects = scene.objects()
    meshes = {item.data for item in objects if item.type == "MESH"}
    armatures = {item.data for item in objects if item.type == "ARMATURE"}
    # Materials of grease pencil drawings are pens.
    used = texture_usage.materials(item for item in objects if item.type != "GREASEPENCIL")
    with attributes.changed(armatures, pose_position="REST"), attributes.without_shape_keys(scene.meshes()):
        geometry = _geometry()
    return {
        "objects": len(objects),
        **geometry,
        "uv_layers": sum(len(mesh.uv_layers) for mesh in meshes),
        "vertex_colours": sum(len(mesh.color_attributes) for mesh in meshes),
        "materials": len(used),
        "textures": len(texture_usage.images(used)),
        "missing_textures": missing_textures,
        "bones": sum(len(armature.bones) for armature in armatures),
        "skins": sum(_is_skinned(item) for item in objects if item.type == "MESH"),
        "blend_shapes": sum(len(mesh.shape_keys.key_blocks) - 1 for mesh in meshes if mesh.shape_keys),
        "clips": _clips(),
        "cameras": sum(item.type == "CAMERA" for item in objects),
        "lights": sum(item.type == "LIGHT" for item in objects),
        "humanoid": any(_is_humanoid(armature) for armature in armatures),
    }


def _clips() -> list[dict]:
    """The name and length of each clip; meshes that are read from the file in each frame are a clip, too."""
    fps, world = scene.frame_rate(), bpy.context.scene
    found = [(clip.name, clip.end - clip.start) for clip in clips.find()]
    if not found and bake_caches.has_cached_meshes() and world.frame_end > world.frame_start:
        found = [("Animation", world.frame_end - world.frame_start)]
    return [
        {"name": name, "frames": round(length) + 1, "seconds": round(length / fps, 6), "fps": fps}
        for name, length in found
    ]


def _is_skinned(item: bpy.types.Object) -> bool:
    by_modifier = any(modifier.type == "ARMATURE" and modifier.object for modifier in item.modifiers)
    return bool(item.vertex_groups) and (by_modifier or (item.parent_type == "ARMATURE" and item.parent is not None))


def _is_humanoid(armature: bpy.types.Armature) -> bool:
    """Whether the VRM add-on has a bone for the hips, which every humanoid needs."""
    extension = getattr(armature, "vrm_addon_extension", None)
    if extension is None:
        return False
    hips = extension.vrm1.humanoid.human_bones.hips.node.bone_name
    older = extension.vrm0.humanoid.human_bones
    return bool(hips) or any(bone.bone == "hips" and bone.node.bone_name for bone in older)


def _geometry() -> dict:
    meshes = vertices = triangles = 0
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        mesh = instance.object.data
        # Surfaces of curves, texts and metaballs are instances beside them. Most formats cannot hold empty meshes.
        if instance.object.type != "MESH" or not len(mesh.vertices):
            continue
        meshes += 1
        vertices += len(mesh.vertices)
        triangles += len(mesh.loops) - 2 * len(mesh.polygons)
        points = arrays.get(mesh.attributes["position"].data, "vector", 3)
        points = points[np.isfinite(points).all(axis=1)].astype(np.float64)
        if len(points):
            matrix = np.array(instance.matrix_world)
            placed = points @ matrix[:3, :3].T + matrix[:3, 3]
            low, high = np.minimum(low, placed.min(axis=0)), np.maximum(high, placed.max(axis=0))
    return {"meshes": meshes, "vertices": vertices, "triangles": triangles, "bounds_m": _y_up(low, high)}


def _y_up(low: np.ndarray, high: np.ndarray) -> dict | None:
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return None
    metres = scene.metres_per_unit()
    low, high = low * metres, high * metres
    # Adding 0 turns -0 into 0.
    return {
        "min": [round(float(value), 6) + 0.0 for value in (low[0], low[2], -high[1])],
        "max": [round(float(value), 6) + 0.0 for value in (high[0], high[2], -low[1])],
    }
