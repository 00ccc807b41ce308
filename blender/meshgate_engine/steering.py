"""Objects that others move, by constraints and drivers: only Blender knows how, so that they get keys of their own."""

import math
from collections.abc import Sequence

import bpy
import numpy as np
from mathutils import Matrix

from . import clips, keys, scene
from .job import Job

# Targets that hold such constraints, or a skeleton and no object.
_LEFT_ALONE = {"vrm", "vrma", "bvh"}

_TURNS = ("rotation_euler", "rotation_quaternion", "rotation_axis_angle")
_DELTAS = ("delta_location", "delta_rotation_euler", "delta_rotation_quaternion", "delta_scale")
_TRANSFORM = {"location", "scale", *_TURNS, *_DELTAS}

Rows = dict[bpy.types.Object, np.ndarray]


def make_keys(job: Job) -> None:
    """Gives every object that others move the motion that it has in each clip, and takes away what moved it."""
    steered = [item for item in scene.objects() if item.visible_get() and _is_steered(item)]
    if not steered or job.output_format in _LEFT_ALONE:
        return
    world = bpy.context.scene
    found = clips.takes(world)
    # The clips that are assigned first, since one that is not would not be the current one.
    assigned = {item.animation_data.action for item in world.objects if item.animation_data}
    found.sort(key=lambda take: take.action not in assigned)
    rest = {item: rows[0] for item, rows in _record(steered, [world.frame_current]).items()}
    recorded: list[tuple[clips.Take | None, Sequence[int], Rows]] = []
    with clips.put_back(world) as put_back:
        for take in found:
            put_back()
            clips.activate(world, take)
            for item in world.objects:
                # What plays on besides is another clip.
                if item.animation_data:
                    item.animation_data.use_nla = False
            frames = range(math.floor(take.start), math.ceil(take.end) + 1)
            recorded.append((take, frames, _record(steered, frames)))
        if not found and _may_move(steered):
            frames = range(world.frame_start, world.frame_end + 1)
            recorded.append((None, frames, _record(steered, frames)))
    for item in steered:
        _release(item)
        keys.stand(item, rest[item])
    for take, frames, poses in recorded:
        if take is not None:
            for item, rows in poses.items():
                _write(take, item, frames, rows, rest[item])
        else:
            keys.make_clip("Animation", frames, poses)
    bpy.context.view_layer.update()


def _is_steered(item: bpy.types.Object) -> bool:
    return any(not constraint.mute for constraint in item.constraints) or bool(_drivers(item))


def _drivers(item: bpy.types.Object) -> list[bpy.types.FCurve]:
    data = item.animation_data
    return [curve for curve in data.drivers if curve.data_path in _TRANSFORM] if data else []


def _may_move(steered: list[bpy.types.Object]) -> bool:
    return bool(bpy.data.actions) or any(map(_drivers, steered))


def _record(items: list[bpy.types.Object], frames: Sequence[int]) -> Rows:
    rows = {item: np.empty((len(frames), 10), dtype=np.float32) for item in items}
    for number, frame in enumerate(frames):
        bpy.context.scene.frame_set(frame)
        graph = bpy.context.evaluated_depsgraph_get()
        for item, kept in rows.items():
            shown = item.evaluated_get(graph)
            basis = _parent(shown).inverted_safe() @ shown.matrix_world
            kept[number] = keys.row(basis, kept[number - 1] if number else None)
    return rows


def _parent(item: bpy.types.Object) -> Matrix:
    """Where an object is that does not move by itself."""
    if item.parent is None or item.parent_type not in {"OBJECT", "ARMATURE", "BONE"}:
        return Matrix.Identity(4)
    place = item.parent.matrix_world
    bone = item.parent.pose.bones.get(item.parent_bone) if item.parent_type == "BONE" and item.parent.pose else None
    if bone is not None and bone.bone.use_relative_parent:
        place = place @ bone.matrix @ bone.bone.matrix_local.inverted_safe()
    elif bone is not None:
        # Children of a bone hang on its tail.
        place = place @ bone.matrix @ Matrix.Translation((0.0, bone.bone.length, 0.0))
    return place @ item.matrix_parent_inverse


def _release(item: bpy.types.Object) -> None:
    item.constraints.clear()
    for curve in _drivers(item):
        item.animation_data.drivers.remove(curve)
    item.delta_location, item.delta_scale = (0, 0, 0), (1, 1, 1)
    item.delta_rotation_euler, item.delta_rotation_quaternion = (0, 0, 0), (1, 0, 0, 0)
    if item.parent and item.parent_type not in {"OBJECT", "ARMATURE", "BONE"}:
        item.parent = None


def _write(take: clips.Take, item: bpy.types.Object, frames: Sequence[int], rows: np.ndarray, rest: np.ndarray) -> None:
    """Adds the object to a clip in which it moves, or is elsewhere than at rest."""
    strip = take.action.layers[0].strips[0]
    owners = {slot: [owner for owner, other in take.parts if other == slot] for _owner, slot in take.parts}
    slot = next((slot for slot, users in owners.items() if users == [item]), None)
    if slot is None:
        if not keys.move(np.vstack((rest, rows))):
            return
        slot = take.action.slots.new("OBJECT", item.name)
    bag = strip.channelbag(slot, ensure=True)
    for curve in [curve for curve in bag.fcurves if curve.data_path in _TRANSFORM]:
        bag.fcurves.remove(curve)
    keys.write(bag, frames, rows)
    if not item.animation_data or not item.animation_data.action:
        keys.assign(item, take.action, slot)
