"""Bakes what constraints, drivers and rigid bodies move into keys, since only Blender can evaluate those.

Baked are objects, bones that something outside of their skeleton moves, and blend shapes.
"""

import math
from collections.abc import Iterator, Sequence

import bpy
import numpy as np
from mathutils import Matrix

from ..blender_api import actions, scene
from ..capabilities import Clips
from ..job import Job
from . import bake_bones, bake_shape_keys, clip_playback, clips, keyframes, sample_limit

_ROTATIONS = ("rotation_euler", "rotation_quaternion", "rotation_axis_angle")
_DELTAS = ("delta_location", "delta_rotation_euler", "delta_rotation_quaternion", "delta_scale")
_TRANSFORM = {"location", "scale", *_ROTATIONS, *_DELTAS}

# Skeletons with their bones, and shape keys with those of their blend shapes that are baked.
Groups = dict[bpy.types.ID, list[keyframes.Animated]]
Rows = dict[keyframes.Animated, np.ndarray]
Recording = tuple[clips.Clip | None, Sequence[int], Rows]


def bake_scene(job: Job) -> None:
    """Bakes the scene's motion into each of its clips, and removes the constraints and drivers."""
    target = job.target
    moved = [item for item in scene.objects() if item.visible_get()] if target.object_transforms else []
    moved = [item for item in moved if _needs_baking(item)]
    groups: Groups = {}
    if target.clips is not Clips.NONE:
        groups |= {rig: bake_bones.depth_first(rig) for rig in bake_bones.needing_bake(within=target.module == "vrma")}
    if target.clips is not Clips.NONE and target.object_transforms:
        groups |= bake_shape_keys.driven()
    if not moved and not groups:
        return
    world = bpy.context.scene
    rest = _record(moved, groups, [world.frame_current])
    recorded = _record_clips(moved, groups)
    for owner in [owner for owner, things in groups.items() if not _any_moves(things, recorded)]:
        # It does not move: exporters write its pose as it is.
        for thing in groups.pop(owner):
            rest.pop(thing)
            for _clip, _frames, rows in recorded:
                rows.pop(thing, None)
    for item in moved:
        _remove_movers(item)
    if world.rigidbody_world:
        world.rigidbody_world.enabled = False
    for owner, things in groups.items():
        if isinstance(owner, bpy.types.Key):
            bake_shape_keys.remove_drivers(owner, things)
        else:
            bake_bones.remove_movers(owner)
    for thing, rows in rest.items():
        keyframes.set_transform(thing, rows[0])
    # Exporters begin each clip with all bones at rest and all blend shapes at zero.
    rest |= {thing: keyframes.rest_row(thing) for things in groups.values() for thing in things}
    for clip, frames, rows in recorded:
        if clip is not None:
            _write_to_clip(clip, frames, rows, rest)
        elif any(map(keyframes.differ, rows.values())):
            changed = {thing: kept for thing, kept in rows.items() if keyframes.differ(np.vstack((rest[thing], kept)))}
            keyframes.new_clip("Animation", frames, changed)
    bpy.context.view_layer.update()


def _needs_baking(item: bpy.types.Object) -> bool:
    return any(not constraint.mute for constraint in item.constraints) or bool(_drivers(item)) or _is_simulated(item)


def _is_simulated(item: bpy.types.Object) -> bool:
    """Whether the object is a rigid body that the simulation moves."""
    simulation, body = bpy.context.scene.rigidbody_world, item.rigid_body
    if not simulation or not simulation.enabled or not body:
        return False
    # The property ``kinematic`` may be animated, so it decides nothing.
    return body.type == "ACTIVE" and body.enabled


def _drivers(item: bpy.types.Object) -> list[bpy.types.FCurve]:
    data = item.animation_data
    return [curve for curve in data.drivers if curve.data_path in _TRANSFORM] if data else []


def _any_moves(things: list[keyframes.Animated], recorded: list[Recording]) -> bool:
    return any(keyframes.differ(rows[thing]) for _clip, _frames, rows in recorded for thing in things if thing in rows)


def _record_clips(moved: list[bpy.types.Object], groups: Groups) -> list[Recording]:
    """Records each clip of what it affects, while all other clips play as in the file."""
    world = bpy.context.scene
    found = clips.find(world)
    # Assigned clips first: the first clip written becomes the current one.
    found.sort(key=lambda clip: not clips.is_assigned(clip))
    related = {item: _dependencies(item) for item in (*moved, *groups)}
    clips_of = {
        item: [clip for clip in found if any(owner in around for owner, _slot in clip.parts)] or found
        for item, around in related.items()
    }
    recorded: list[Recording] = []
    samples = 0
    with clip_playback.restoring(world) as put_back:
        for clip in found:
            objects = [item for item in moved if clip in clips_of[item]]
            others = {owner: things for owner, things in groups.items() if clip in clips_of[owner]}
            if objects or others:
                put_back()
                clip_playback.play(clip, keeping=others)
                moving = len(objects) + sum(map(len, others.values()))
                samples = sample_limit.check_frames(clip.start, clip.end, moving, samples)
                frames = range(math.floor(clip.start), math.ceil(clip.end) + 1)
                recorded.append((clip, frames, _record(objects, others, frames)))
        if not found and _may_move(moved, groups):
            moving = len(moved) + sum(map(len, groups.values()))
            sample_limit.check_frames(world.frame_start, world.frame_end, moving)
            frames = range(world.frame_start, world.frame_end + 1)
            recorded.append((None, frames, _record(moved, groups, frames)))
    return recorded


def _dependencies(item: bpy.types.ID) -> set[bpy.types.ID]:
    """All data that the motion of an object or of shape keys may depend on, itself included."""
    found: set[bpy.types.ID] = set()
    waiting: list[bpy.types.ID | None] = [item]
    while waiting:
        thing = waiting.pop()
        if thing is not None and thing not in found:
            found.add(thing)
            waiting += _direct_dependencies(thing)
    return found


def _direct_dependencies(thing: bpy.types.ID) -> Iterator[bpy.types.ID | None]:
    if getattr(thing, "animation_data", None):
        for curve in thing.animation_data.drivers:
            yield from (target.id for variable in curve.driver.variables for target in variable.targets)
    if isinstance(thing, bpy.types.Object):
        yield thing.parent
        for holder in (thing, *(thing.pose.bones if thing.pose else ())):
            for constraint in holder.constraints:
                yield from bake_bones.targets(constraint)


def _may_move(moved: list[bpy.types.Object], groups: Groups) -> bool:
    driven = any(bake_bones.drivers(owner) for owner in groups if isinstance(owner, bpy.types.Object))
    shapes_too = any(isinstance(owner, bpy.types.Key) for owner in groups)
    moving = any(_drivers(item) or _is_simulated(item) for item in moved)
    return bool(bpy.data.actions) or moving or driven or shapes_too


def _record(items: list[bpy.types.Object], groups: Groups, frames: Sequence[int]) -> Rows:
    things = (*items, *(thing for things in groups.values() for thing in things))
    rows = {thing: keyframes.empty_rows(thing, len(frames)) for thing in things}
    if any(map(_is_simulated, items)):
        # A simulation needs every frame before the first one.
        for frame in range(bpy.context.scene.rigidbody_world.point_cache.frame_start, frames[0]):
            bpy.context.scene.frame_set(frame)
    for number, frame in enumerate(frames):
        bpy.context.scene.frame_set(frame)
        graph = bpy.context.evaluated_depsgraph_get()
        for item in items:
            shown, kept = item.evaluated_get(graph), rows[item]
            basis = _parent(shown).inverted_safe() @ shown.matrix_world
            kept[number] = keyframes.transform_row(basis, kept[number - 1] if number else None)
        for owner, things in groups.items():
            module = bake_shape_keys if isinstance(owner, bpy.types.Key) else bake_bones
            module.record(owner.evaluated_get(graph), things, rows, number)
    return rows


def _parent(item: bpy.types.Object) -> Matrix:
    """The matrix that takes the space of an object's own transform to the world's."""
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


def _remove_movers(item: bpy.types.Object) -> None:
    item.constraints.clear()
    for curve in _drivers(item):
        item.animation_data.drivers.remove(curve)
    item.delta_location, item.delta_scale = (0, 0, 0), (1, 1, 1)
    item.delta_rotation_euler, item.delta_rotation_quaternion = (0, 0, 0), (1, 0, 0, 0)
    if item.parent and item.parent_type not in {"OBJECT", "ARMATURE", "BONE"}:
        item.parent = None


def _write_to_clip(clip: clips.Clip, frames: Sequence[int], rows: Rows, rest: Rows) -> None:
    """Adds to a clip all that moves in it or is not at rest."""
    owners = list(dict.fromkeys(thing.id_data for thing in rows))
    slots = _exclusive_slots(clip, owners)
    for owner in owners:
        things = [thing for thing in rows if thing.id_data == owner]
        slot = slots.get(owner)
        before = clips.paths(clip.action, slot) if slot else set()
        written = [
            thing
            for thing in things
            if any(path.startswith(keyframes.path(thing)) for path in before)
            or keyframes.differ(np.vstack((rest[thing], rows[thing])))
        ]
        if not written:
            continue
        slot = slot or clip.action.slots.new(owner.id_type, owner.name)
        bag = clip.action.layers[0].strips[0].channelbag(slot, ensure=True)
        for thing in written:
            replaced = {keyframes.path(thing) + path for path in (*_TRANSFORM, "value")}
            for curve in [curve for curve in bag.fcurves if curve.data_path in replaced]:
                bag.fcurves.remove(curve)
            keyframes.write_rows(bag, thing, frames, rows[thing])
        if not owner.animation_data or not owner.animation_data.action:
            actions.assign(owner, clip.action, slot)


def _exclusive_slots(clip: clips.Clip, owners: list[bpy.types.ID]) -> dict[bpy.types.ID, bpy.types.ActionSlot]:
    """The slots of a clip by what they move; a slot that an owner shares with others is copied for each of them."""
    strip = clip.action.layers[0].strips[0]
    found = dict(clip.parts)
    for slot in {found[owner] for owner in owners if owner in found}:
        users = [user for user, other in clip.parts if other == slot]
        if len(users) == 1:
            continue
        # Blender finds a slot by the name of what it moves.
        slot.name_display = f"{slot.name_display} shared"
        for user in users:
            found[user] = clip.action.slots.new(slot.target_id_type, user.name)
            bag = strip.channelbag(found[user], ensure=True)
            for curve in strip.channelbag(slot).fcurves:
                bag.fcurves.new_from_fcurve(curve)
            if user.animation_data and user.animation_data.action_slot == slot:
                user.animation_data.action_slot = found[user]
        clip.action.slots.remove(slot)
    return found
