"""Bakes motion by constraints, drivers and rigid bodies into keys, since only Blender can evaluate those.

It bakes objects, blend shapes, and bones that something outside of their skeleton moves.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import bpy
import numpy as np

from ..blender_api import actions
from ..capabilities import Clips
from ..job import Job
from . import bake_bones, bake_objects, bake_shape_keys, clip_playback, clips, keyframes, sample_limit

Kind = type[bake_objects.BakedObject] | type[bake_bones.BakedBone] | type[bake_shape_keys.BakedShapeKey]
# (object or shape keys, kind) -> its baked things: the object itself, its bones, or blend shapes.
Groups = dict[tuple[bpy.types.ID, Kind], list[keyframes.Baked]]


@dataclass(frozen=True)
class _Recording:
    """The rows of everything that a clip affects; without a clip, those of the scene's frames."""

    clip: clips.Clip | None
    frames: Sequence[int]
    rows: keyframes.Rows


def bake_scene(job: Job) -> None:
    """Bakes the scene's motion into each of its clips, and removes the constraints and drivers."""
    groups = _find(job)
    if not groups:
        return
    world = bpy.context.scene
    rest = _record(groups, [world.frame_current])
    recorded = _record_clips(groups)
    for (owner, kind), things in list(groups.items()):
        if kind.starts_at_rest and not _any_moves(things, recorded):
            # It does not move, so exporters write its current pose.
            del groups[owner, kind]
            for rows in (rest, *(recording.rows for recording in recorded)):
                for thing in things:
                    rows.pop(thing, None)
    for owner, kind in groups:
        kind.remove_constraints_and_drivers(owner)
    if world.rigidbody_world:
        world.rigidbody_world.enabled = False
    for thing, rows in rest.items():
        thing.set(rows[0])
        if thing.starts_at_rest:
            rest[thing] = thing.rest[None]
    for recording in recorded:
        if recording.clip is not None:
            _write_to_clip(recording, rest)
        elif any(map(keyframes.differ, recording.rows.values())):
            moved = {thing: rows for thing, rows in recording.rows.items() if _differs_from_rest(rows, rest[thing])}
            keyframes.new_clip("Animation", recording.frames, moved)
    bpy.context.view_layer.update()


def _find(job: Job) -> Groups:
    """Everything that the target needs baked."""
    target, holds_clips = job.target, job.target.clips is not Clips.NONE
    found = [
        bake_objects.find() if target.object_transforms else {},
        bake_bones.find(within=target.keys_only) if holds_clips else {},
        bake_shape_keys.find() if holds_clips and target.object_transforms else {},
    ]
    return {(owner, type(things[0])): things for groups in found for owner, things in groups.items() if things}


def _any_moves(things: list[keyframes.Baked], recorded: list[_Recording]) -> bool:
    return any(keyframes.differ(each.rows[thing]) for each in recorded for thing in things if thing in each.rows)


def _differs_from_rest(rows: np.ndarray, rest: np.ndarray) -> bool:
    return keyframes.differ(np.vstack((rest, rows)))


def _record_clips(groups: Groups) -> list[_Recording]:
    """Plays each clip and records everything that it affects, while all other clips play as in the file."""
    world = bpy.context.scene
    # Assigned clips first: the first clip written becomes the current one.
    found = sorted(clips.find(), key=lambda clip: not clips.is_assigned(clip))
    clips_of = {}
    for owner, _kind in groups:
        related = _dependencies(owner)
        clips_of[owner] = [clip for clip in found if any(moved in related for moved, _slot in clip.parts)] or found
    recorded: list[_Recording] = []
    samples = 0
    with clip_playback.restoring() as put_back:
        for clip in found:
            affected = {key: things for key, things in groups.items() if clip in clips_of[key[0]]}
            if affected:
                put_back()
                clip_playback.play(clip, keeping={owner for owner, kind in affected if kind.starts_at_rest})
                moving = sum(map(len, affected.values()))
                samples = sample_limit.check_frames(clip.start, clip.end, moving, samples)
                frames = range(math.floor(clip.start), math.ceil(clip.end) + 1)
                recorded.append(_Recording(clip, frames, _record(affected, frames)))
        if not found and (bpy.data.actions or any(kind.has_own_motion(owner) for owner, kind in groups)):
            sample_limit.check_frames(world.frame_start, world.frame_end, sum(map(len, groups.values())))
            frames = range(world.frame_start, world.frame_end + 1)
            recorded.append(_Recording(None, frames, _record(groups, frames)))
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
    for curve in actions.drivers(thing) if hasattr(thing, "animation_data") else ():
        yield from (target.id for variable in curve.driver.variables for target in variable.targets)
    if isinstance(thing, bpy.types.Object):
        yield thing.parent
        for holder in (thing, *(thing.pose.bones if thing.pose else ())):
            for constraint in holder.constraints:
                yield from bake_bones.targets(constraint)


def _record(groups: Groups, frames: Sequence[int]) -> keyframes.Rows:
    if any(kind is bake_objects.BakedObject and bake_objects.is_simulated(owner) for owner, kind in groups):
        # A simulation needs every frame before the first one.
        for frame in range(bpy.context.scene.rigidbody_world.point_cache.frame_start, frames[0]):
            bpy.context.scene.frame_set(frame)
    return keyframes.record([(owner, things) for (owner, _kind), things in groups.items()], frames)


def _write_to_clip(recording: _Recording, rest: keyframes.Rows) -> None:
    """Adds the rows of everything that moves in a clip or is not at rest."""
    clip, rows = recording.clip, recording.rows
    owners = list(dict.fromkeys(thing.owner for thing in rows))
    slots = _exclusive_slots(clip, owners)
    for owner in owners:
        slot = slots.get(owner)
        before = clips.paths(clip.action, slot) if slot else set()
        written = [
            thing
            for thing in rows
            if thing.owner == owner
            and (any(path.startswith(thing.path) for path in before) or _differs_from_rest(rows[thing], rest[thing]))
        ]
        if not written:
            continue
        slot = slot or clip.action.slots.new(owner.id_type, owner.name)
        bag = actions.channelbag(clip.action, slot)
        for thing in written:
            replaced = {thing.path + path for path in (*bake_objects.TRANSFORM, "value")}
            for curve in [curve for curve in bag.fcurves if curve.data_path in replaced]:
                bag.fcurves.remove(curve)
            keyframes.write_rows(bag, thing, recording.frames, rows[thing])
        if not owner.animation_data or not owner.animation_data.action:
            actions.assign(owner, clip.action, slot)


def _exclusive_slots(clip: clips.Clip, owners: Iterable[bpy.types.ID]) -> dict[bpy.types.ID, bpy.types.ActionSlot]:
    """The slots of a clip by what they move; a slot that an owner shares with others is copied for each of them."""
    found = dict(clip.parts)
    for slot in {found[owner] for owner in owners if owner in found}:
        users = [user for user, other in clip.parts if other == slot]
        if len(users) == 1:
            continue
        # Blender finds a slot by the name of its user.
        slot.name_display = f"{slot.name_display} shared"
        for user in users:
            found[user] = clip.action.slots.new(slot.target_id_type, user.name)
            actions.copy_curves((clip.action, slot), (clip.action, found[user]))
            if user.animation_data and user.animation_data.action_slot == slot:
                user.animation_data.action_slot = found[user]
        clip.action.slots.remove(slot)
    return found
