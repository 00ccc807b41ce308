"""Clips: which animations a scene has, what they are called, and getting all of them through an export.

A clip is an action. Importers give every animation of a file one action with a slot for each thing that moves in it
(an object, a skeleton's pose, the blend shapes of a mesh); only one action at a time is assigned to its owners.
"""

import contextlib
import math
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass

import bpy
import numpy as np

from ..blender_api import scene as model
from ..formats import USD
from ..job import Job
from . import frame_rate, keyframes

# Formats that hold the scene as it plays; others hold clips.
ONE_TIMELINE = USD | {"abc"}

# Less than that nothing has moved, in metres or radians.
_SAME = 1e-6


@dataclass(frozen=True)
class Take:
    """An action with the things it moves."""

    name: str
    action: bpy.types.Action
    # Frames, the last included.
    start: float
    end: float
    parts: tuple[tuple[bpy.types.ID, bpy.types.ActionSlot], ...]


def takes(scene: bpy.types.Scene) -> list[Take]:
    """The clips of the scene with what they move, by name."""
    owners = list(_owners(scene))
    found = []
    for action in bpy.data.actions:
        parts = _parts(action, owners)
        if parts:
            start, end = action.frame_range
            found.append(Take(action.name, action, float(start), float(end), tuple(parts)))
    return sorted(found, key=lambda take: take.name)


def clips(scene: bpy.types.Scene) -> list[dict]:
    """The clips of the scene as the report tells them."""
    fps = scene.render.fps / scene.render.fps_base
    return [
        {
            "name": take.name,
            "frames": round(take.end - take.start) + 1,
            "seconds": round((take.end - take.start) / fps, 6),
            "fps": fps,
        }
        for take in takes(scene)
    ]


def activate(scene: bpy.types.Scene, take: Take | None) -> None:
    """Assigns the clip to everything that it moves, and nothing to everything else."""
    activate_all(scene, [take] if take else [])


def activate_all(scene: bpy.types.Scene, together: list[Take]) -> None:
    """Assigns clips that play together, the first one to what several move, and nothing to everything else."""
    for owner in _owners(scene):
        data = owner.animation_data
        if data:
            # What plays on tracks is another clip.
            data.use_nla = False
        if data and data.action:
            data.action = None
            # Else the next clip begins with the shapes of this one.
            _put_at_rest(owner)
    for armature in model.armatures():
        _put_at_rest(armature)
    for take in reversed(together):
        for owner, slot in take.parts:
            keyframes.assign(owner, take.action, slot)


def play(take: Take, keeping: Container[bpy.types.Object]) -> None:
    """Assigns the clip to everything that it moves, without what else moves that; all others play on.

    Poses and shapes begin at rest, but for those ``keeping`` a pose that goes with the clip.
    """
    for owner, slot in take.parts:
        if owner not in keeping or owner.animation_data is None or owner.animation_data.action != take.action:
            _put_at_rest(owner)
        keyframes.assign(owner, take.action, slot)
        # What plays besides is another clip.
        owner.animation_data.use_nla = False


def _put_at_rest(owner: bpy.types.ID) -> None:
    """Takes the pose of a skeleton back, and the values of blend shapes."""
    for block in getattr(owner, "key_blocks", ()):
        block.value = 0.0
    for bone in owner.pose.bones if getattr(owner, "pose", None) else ():
        bone.matrix_basis.identity()


def is_assigned(take: Take) -> bool:
    """Whether it is the clip that the scene shows."""
    return any(owner.animation_data and owner.animation_data.action == take.action for owner, _slot in take.parts)


def choose(job: Job, item: bpy.types.Object, found: list[Take]) -> Take | None:
    """The clip of a skeleton for a target that holds one, and says that the others are lost; None where it has none."""
    mine = [take for take in found if any(owner == item for owner, _slot in take.parts)]
    if not mine:
        return None
    current = item.animation_data.action if item.animation_data else None
    chosen = next((take for take in mine if take.action == current), mine[0])
    if len(found) > 1:
        names = ", ".join(take.name for take in found if take is not chosen)
        job.lose(f"{len(found) - 1} of {len(found)} clips ({names}): {job.output_format} holds one")
    return chosen


def part_stands_still(take: Take) -> bool:
    """Whether something that the clip holds does not move in it."""
    return any(not changed(take.action, slot) for _owner, slot in take.parts)


def changed(action: bpy.types.Action, slot: bpy.types.ActionSlot) -> set[str]:
    """What a part of a clip brings to another value, as paths in its owner."""
    found = set()
    for curve in _curves(action, slot):
        points = np.empty(len(curve.keyframe_points) * 2, dtype=np.float32)
        curve.keyframe_points.foreach_get("co", points)
        if len(points) and np.ptp(points[1::2]) > _SAME:
            found.add(curve.data_path)
    return found


def paths(action: bpy.types.Action, slot: bpy.types.ActionSlot) -> set[str]:
    """What a part of a clip changes, as paths in its owner."""
    return {curve.data_path for curve in _curves(action, slot)}


@contextlib.contextmanager
def put_back(scene: bpy.types.Scene) -> Iterator[Callable[[], None]]:
    """Puts back what ``activate`` and other frames change, at the end and whenever what it gives is called."""
    owners = list(_owners(scene))
    found = [(owner, owner.animation_data) for owner in owners if owner.animation_data]
    assigned = {owner: (data.action, data.action_slot, data.use_nla) for owner, data in found}
    places = {item: item.matrix_basis.copy() for item in scene.objects if item.animation_data}
    poses = {bone: bone.matrix_basis.copy() for rig in model.armatures() for bone in rig.pose.bones}
    shapes = {block: block.value for owner in owners for block in getattr(owner, "key_blocks", ())}
    frame = scene.frame_current

    def put() -> None:
        for owner in owners:
            data = owner.animation_data
            if data:
                action, slot, data.use_nla = assigned.get(owner, (None, None, True))
                data.action = action
                if action:
                    data.action_slot = slot
        for thing, matrix in (*places.items(), *poses.items()):
            thing.matrix_basis = matrix
        for block, value in shapes.items():
            block.value = value

    try:
        yield put
    finally:
        put()
        scene.frame_set(frame)


def strip_owners() -> None:
    """``Armature|Walk`` -> ``Walk``: Blender's own FBX exporter puts the object before the clip's name.

    Only where the object is there and no two clips end up with one name.
    """
    owners = {item.name for item in bpy.data.objects}
    short: dict[str, list[bpy.types.Action]] = {}
    for action in bpy.data.actions:
        owner, _, rest = action.name.partition("|")
        name = rest if owner in owners and rest else action.name
        short.setdefault(name, []).append(action)
    for name, actions in short.items():
        if len(actions) == 1:
            actions[0].name = name


def snap_to_frames() -> None:
    """Puts keys that are a hair beside a whole frame onto it.

    Times in seconds are floats: frame 30 comes back as 29.999998, and an exporter that rounds down loses it.
    """
    render = bpy.context.scene.render
    fps = render.fps / render.fps_base
    for action in bpy.data.actions:
        for slot in action.slots:
            for curve in _curves(action, slot):
                points = np.empty(len(curve.keyframe_points) * 2, dtype=np.float32)
                curve.keyframe_points.foreach_get("co", points)
                frames, whole = points[::2], np.round(points[::2])
                near = (frames != whole) & (np.abs(frames - whole) <= frame_rate.hair(fps, whole / fps))
                if near.any():
                    points[::2] = np.where(near, whole, frames)
                    curve.keyframe_points.foreach_set("co", points)
                    curve.update()


def remove_all() -> None:
    """Removes all animation and puts skeletons into their rest pose."""
    scene = bpy.context.scene
    found = takes(scene)
    moving = {owner for take in found for owner, _slot in take.parts}
    if found:
        scene.frame_set(math.floor(min(take.start for take in found)))
    for owner in _owners(scene):
        owner.animation_data_clear()
    for action in list(bpy.data.actions):
        bpy.data.actions.remove(action)
    for owner in moving:
        if owner.id_type == "KEY":
            for block in owner.key_blocks:
                block.value = 0.0
        elif getattr(owner, "pose", None):
            for bone in owner.pose.bones:
                bone.matrix_basis.identity()


def prepare_for_export(target: str) -> None:
    """Sets the scene's frame range, and for glTF lays every clip on a track of its own."""
    scene = bpy.context.scene
    found = takes(scene)
    if not found or target == "blend":
        return
    if any(take.start < 0 for take in found):
        _shift(scene, -math.floor(min(take.start for take in found)))
        found = takes(scene)
    if target in {"glb", "gltf", "vrm"}:
        _lay_on_tracks(scene, found)
    shown = exported(target, found)
    scene.frame_start = int(min(take.start for take in shown))
    scene.frame_end = max(scene.frame_start, round(max(take.end for take in shown)))
    if target in ONE_TIMELINE:
        activate_all(scene, shown)
        scene.frame_set(scene.frame_start)


def exported(target: str, found: list[Take]) -> list[Take]:
    """The clips that a target gets."""
    if target in ONE_TIMELINE:
        return together(found)
    return found if target in {"glb", "fbx"} else list(filter(is_assigned, found))[:1] or found[:1]


def last_key(take: Take) -> float:
    """The frame of the last key, wherever Blender ends the clip."""
    curves = [curve for _owner, slot in take.parts for curve in _curves(take.action, slot)]
    return max((float(curve.range()[1]) for curve in curves), default=take.end)


def together(found: list[Take]) -> list[Take]:
    """The clips that a target of one timeline gets: those that play together in the scene, or the first."""
    return list(filter(is_assigned, found)) or found[:1]


def _shift(scene: bpy.types.Scene, frames: int) -> None:
    """Moves all clips by as much: a scene begins at frame 0 or later, and exporters leave out what lies before."""
    for action in bpy.data.actions:
        for slot in action.slots:
            for curve in _curves(action, slot):
                for name in ("handle_left", "co", "handle_right"):
                    points = np.empty(len(curve.keyframe_points) * 2, dtype=np.float32)
                    curve.keyframe_points.foreach_get(name, points)
                    points[::2] += frames
                    curve.keyframe_points.foreach_set(name, points)
                curve.update()
        if action.use_frame_range:
            action.frame_end += frames
            action.frame_start += frames
    for owner in _owners(scene):
        for track in owner.animation_data.nla_tracks if owner.animation_data else ():
            # The last first, as strips may not lie on each other.
            for strip in reversed(track.strips):
                strip.action_frame_end += frames
                strip.action_frame_start += frames
                strip.frame_start_ui += frames
    scene.frame_set(scene.frame_current + frames)


def _lay_on_tracks(scene: bpy.types.Scene, found: list[Take]) -> None:
    activate(scene, None)
    for owner in _owners(scene):
        if owner.animation_data:
            for track in list(owner.animation_data.nla_tracks):
                owner.animation_data.nla_tracks.remove(track)
    for take in found:
        for owner, slot in take.parts:
            data = owner.animation_data or owner.animation_data_create()
            track = data.nla_tracks.new()
            track.name = take.name
            strip = track.strips.new(take.name, round(take.start), take.action)
            strip.action_slot = slot
            track.mute = True


def _owners(scene: bpy.types.Scene) -> Iterator[bpy.types.ID]:
    """Everything in the scene that an action can move."""
    seen = set()
    for item in scene.objects:
        shapes = getattr(item.data, "shape_keys", None)
        for owner in (item, shapes, item.data if item.type in {"CAMERA", "LIGHT"} else None):
            if owner is not None and owner not in seen:
                seen.add(owner)
                yield owner


def _parts(action: bpy.types.Action, owners: list[bpy.types.ID]) -> list[tuple[bpy.types.ID, bpy.types.ActionSlot]]:
    parts = []
    for slot in action.slots:
        curves = _curves(action, slot)
        if not curves:
            continue
        users = set(slot.users())
        kind = slot.target_id_type
        users = users & set(owners) or {
            owner for owner in owners if owner.id_type == kind and owner.name == slot.identifier[2:]
        }
        if not users:
            users = {owner for owner in owners if owner.id_type == kind and _fits(owner, curves)}
        parts += [(owner, slot) for owner in owners if owner in users]
    return parts


def _curves(action: bpy.types.Action, slot: bpy.types.ActionSlot) -> list[bpy.types.FCurve]:
    return [
        curve
        for layer in action.layers
        for strip in layer.strips
        for bag in strip.channelbags
        if bag.slot == slot
        for curve in bag.fcurves
    ]


def _fits(owner: bpy.types.ID, curves: list[bpy.types.FCurve]) -> bool:
    """Whether everything that the curves move is there; an object that fits by accident has only its own transform."""
    if not any(curve.data_path.startswith(("pose.", "key_blocks")) for curve in curves):
        return False
    try:
        for path in {curve.data_path for curve in curves}:
            owner.path_resolve(path)
    except ValueError:
        return False
    return True
