"""Finds objects whose geometry changes over time by modifiers, and curves, texts and metaballs that move."""

import bpy
import numpy as np

from ..blender_api import actions, arrays, attributes, scene
from ..capabilities import Clips
from ..job import Job
from . import clip_playback, clips

# Types of objects that become meshes, and kinds of particles that become objects; both lose their motion.
_SURFACES, _INSTANCES = {"CURVE", "SURFACE", "FONT", "META"}, {"OBJECT", "COLLECTION"}
# Modifiers that simulate: they need every frame in order, so comparing some frames would show nothing.
_SIMULATING = {"CLOTH", "SOFT_BODY"}
# Modifiers that may change a mesh over time without any keys.
_TIME_DEPENDENT = {"WAVE", "OCEAN", "BUILD", "EXPLODE", "MESH_CACHE", "NODES", "FLUID"}
# How many frames of a clip, and how many clips, are compared.
_MOST_FRAMES, _MOST_CLIPS = 5, 8
_TOLERANCE = 1e-5  # metres; smaller motions of a vertex are none


def changing_meshes() -> set[bpy.types.Object]:
    """The visible meshes whose geometry changes over time, apart from skinning and blend shapes."""
    found = clips.find()
    suspects = [item for item in scene.meshes() if item.visible_get() and _may_change(item, found)]
    changing = {item for item in suspects if any(modifier.type in _SIMULATING for modifier in _visible_modifiers(item))}
    suspects = [item for item in suspects if item not in changing]
    skeletons = [modifier for item in suspects for modifier in item.modifiers if modifier.type == "ARMATURE"]
    with attributes.changed(skeletons, show_viewport=False), attributes.without_shape_keys(suspects):
        return changing | _find_changing(suspects, found)


def has_modifiers() -> bool:
    """Whether a mesh has visible modifiers other than its skeleton's; once others are applied, its geometry changes."""
    return any(map(_visible_modifiers, scene.meshes()))


def report_lost_motion(job: Job) -> None:
    """Reports motion that is lost when curves become meshes and particles become objects."""
    if not job.animation or job.target.clips not in {Clips.TIMELINE, Clips.ALL}:
        return
    found = clips.find()
    shown = [item for item in scene.objects() if item.visible_get()]
    surfaces = [item for item in shown if item.type in _SURFACES]
    surfaces = [item for item in surfaces if _has_motion(item.data) or _may_change(item, found)]
    job.lose("surface motion", len(_find_changing(surfaces, found)), "no such thing")
    job.lose("particle motion", sum(map(_emitter_count, shown)), "no such thing")


def _has_motion(data: bpy.types.ID) -> bool:
    """Whether keys or drivers change the data; metaballs always may, since they merge where they move."""
    owners = (data, getattr(data, "shape_keys", None))
    moved = any(owner.animation_data for owner in owners if owner)
    return moved or isinstance(data, bpy.types.MetaBall) or bool(getattr(data, "bevel_object", None))


def _emitter_count(item: bpy.types.Object) -> int:
    systems = [modifier.particle_system for modifier in item.modifiers if modifier.type == "PARTICLE_SYSTEM"]
    kinds = [system.settings for system in systems]
    return sum(kind.type == "EMITTER" and kind.render_type in _INSTANCES for kind in kinds)


def _visible_modifiers(item: bpy.types.Object) -> list[bpy.types.Modifier]:
    return [modifier for modifier in item.modifiers if modifier.show_viewport and modifier.type != "ARMATURE"]


def _may_change(item: bpy.types.Object, found: list[clips.Clip]) -> bool:
    shown = _visible_modifiers(item)
    if any(each.type in _SIMULATING | _TIME_DEPENDENT or any(scene.referenced_objects(each)) for each in shown):
        return True
    parts = [clips.paths(clip.action, slot) for clip in found for slot in clip.slots_of(item)]
    paths = set().union(*parts, (curve.data_path for curve in actions.drivers(item)))
    return bool(shown) and any(path.startswith("modifiers[") for path in paths)


def _find_changing(items: list[bpy.types.Object], found: list[clips.Clip]) -> set[bpy.types.Object]:
    world, changing = bpy.context.scene, set()
    if not items:
        return changing
    with clip_playback.restoring() as put_back:
        for clip in found[:_MOST_CLIPS] or [None]:
            put_back()
            start, end = world.frame_start, world.frame_end
            if clip is not None:
                clip_playback.play(clip, keeping=())
                start, end = clip.start, clip.end
            first: dict[bpy.types.Object, np.ndarray] = {}
            for frame in sorted({round(frame) for frame in np.linspace(start, end, _MOST_FRAMES)}):
                world.frame_set(frame)
                graph = bpy.context.evaluated_depsgraph_get()
                for item in [item for item in items if item not in changing]:
                    points = _points(item.evaluated_get(graph))
                    before = first.setdefault(item, points)
                    if points.shape != before.shape or np.abs(points - before).max(initial=0.0) > _TOLERANCE:
                        changing.add(item)
    return changing


def _points(item: bpy.types.Object) -> np.ndarray:
    """The vertices of an evaluated object in its own space: shape (n, 3), metres."""
    if item.type == "MESH":
        return arrays.get(item.data.vertices, "co", 3)
    mesh = item.to_mesh()
    points = arrays.get(mesh.vertices, "co", 3) if mesh else np.empty((0, 3), dtype=np.float32)
    item.to_mesh_clear()
    return points
