"""Counts what the scene holds: the ``Counts`` of ``src/domain/report.rs``."""

import contextlib
from collections.abc import Iterator

import bpy
import numpy as np

from ..animation import bake_caches, clips
from ..blender_api import arrays, attributes, scene
from ..materials import texture_usage

# The corners of an empty box.
_NOTHING = (np.full(3, np.inf), np.full(3, -np.inf))


def counts(missing_textures: list[str]) -> dict:
    """Counts the scene as exporters see it: modifiers applied, instances realized, skeletons at rest."""
    objects = scene.objects()
    meshes = {item.data for item in objects if item.type == "MESH"}
    armatures = {item.data for item in objects if item.type == "ARMATURE"}
    # Materials of grease pencil drawings are pens.
    used = texture_usage.materials(item for item in objects if item.type != "GREASEPENCIL")
    with at_rest():
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
    fps = scene.frame_rate()
    found = [(clip.name, clip.end - clip.start) for clip in clips.find()]
    if not found and (cached := bake_caches.frames_of_cached_meshes()):
        found = [("Animation", cached)]
    return [
        {"name": name, "frames": round(length) + 1, "seconds": round(length / fps, 6), "fps": fps}
        for name, length in found
    ]


def _is_skinned(item: bpy.types.Object) -> bool:
    if not item.vertex_groups:
        return False
    by_modifier = any(modifier.type == "ARMATURE" and modifier.object for modifier in item.modifiers)
    return by_modifier or (item.parent_type == "ARMATURE" and item.parent is not None)


def _is_humanoid(armature: bpy.types.Armature) -> bool:
    """Whether the VRM add-on has a bone for the hips, which every humanoid needs."""
    extension = getattr(armature, "vrm_addon_extension", None)
    if extension is None:
        return False
    hips = extension.vrm1.humanoid.human_bones.hips.node.bone_name
    older = extension.vrm0.humanoid.human_bones
    return bool(hips) or any(bone.bone == "hips" and bone.node.bone_name for bone in older)


@contextlib.contextmanager
def at_rest() -> Iterator[None]:
    """Puts skeletons into their rest pose and turns blend shapes off."""
    armatures = {item.data for item in scene.armatures()}
    with attributes.changed(armatures, pose_position="REST"), attributes.without_shape_keys(scene.meshes()):
        yield


def _geometry() -> dict:
    meshes = vertices = triangles = 0
    low, high = _NOTHING
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        # The surface of a curve, text or metaball is an instance beside the object.
        if instance.object.type != "MESH":
            continue
        mesh = instance.object.data
        # Empty meshes do not count, as most formats cannot hold them.
        meshes += bool(len(mesh.vertices))
        vertices += len(mesh.vertices)
        triangles += len(mesh.loops) - 2 * len(mesh.polygons)
        points = _points(mesh)
        if points is None:
            continue
        matrix = np.array(instance.matrix_world)
        placed = points @ matrix[:3, :3].T + matrix[:3, 3]
        low = np.minimum(low, placed.min(axis=0))
        high = np.maximum(high, placed.max(axis=0))
    return {"meshes": meshes, "vertices": vertices, "triangles": triangles, "bounds_m": _y_up(low, high)}


def _points(mesh: bpy.types.Mesh) -> np.ndarray | None:
    if not len(mesh.vertices):
        return None
    points = arrays.get(mesh.attributes["position"].data, "vector", 3)
    points = points[np.isfinite(points).all(axis=1)]
    return points.astype(np.float64) if len(points) else None


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
