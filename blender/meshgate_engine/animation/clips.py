"""Clips: which animations a scene has, and what each of them moves.

A clip is an action. Importers make one action of each animation of a file, with a slot for each thing that moves in it
(an object, a skeleton's pose, the blend shapes of a mesh). A thing has one action assigned at a time.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import bpy
import numpy as np

from ..blender_api import actions, arrays, scene
from ..capabilities import Capabilities, Clips
from . import frame_rate

_TOLERANCE = 1e-6  # metres or radians; smaller changes are no motion


@dataclass(frozen=True)
class Clip:
    """An action with the things that it moves."""

    name: str
    action: bpy.types.Action
    start: float  # frame
    end: float  # frame, which is included
    parts: tuple[tuple[bpy.types.ID, bpy.types.ActionSlot], ...]

    def slots_of(self, owner: bpy.types.ID) -> list[bpy.types.ActionSlot]:
        """The slots whose curves move an object, shape keys, camera or light."""
        return [slot for moved, slot in self.parts if moved == owner]


def find() -> list[Clip]:
    """The clips of the scene, sorted by name."""
    movable = list(owners())
    found = []
    for action in bpy.data.actions:
        parts = _parts(action, movable)
        if parts:
            start, end = action.frame_range
            found.append(Clip(action.name, action, float(start), float(end), tuple(parts)))
    return sorted(found, key=lambda clip: clip.name)


def is_assigned(clip: Clip) -> bool:
    """Whether the clip is assigned to something, so that the scene plays it."""
    return any(owner.animation_data and owner.animation_data.action == clip.action for owner, _slot in clip.parts)


def changed_paths(action: bpy.types.Action, slot: bpy.types.ActionSlot) -> set[str]:
    """The RNA paths, from the owner, of the values that a slot of a clip changes."""
    found = set()
    for curve in actions.curves(action, slot):
        values = arrays.get(curve.keyframe_points, "co", 2)[:, 1]
        if len(values) and np.ptp(values) > _TOLERANCE:
            found.add(curve.data_path)
    return found


def paths(action: bpy.types.Action, slot: bpy.types.ActionSlot) -> set[str]:
    """The RNA paths, from the owner, of all curves of a slot."""
    return {curve.data_path for curve in actions.curves(action, slot)}


def strip_object_names() -> None:
    """``Armature|Walk`` -> ``Walk``: Blender's own FBX exporter puts the object before the clip's name.

    A name stays where the scene has no such object, or where two clips would get one name.
    """
    owners = {item.name for item in bpy.data.objects}
    short = defaultdict(list)
    for action in bpy.data.actions:
        owner, _, rest = action.name.partition("|")
        short[rest if owner in owners and rest else action.name].append(action)
    for name, alike in short.items():
        if len(alike) == 1:
            alike[0].name = name


def snap_to_frames() -> None:
    """Moves keys that are almost on a whole frame onto it.

    Times in seconds are floats: frame 30 comes back as 29.999998, and an exporter that rounds down loses it.
    """
    fps = scene.frame_rate()
    for curve in actions.all_curves():
        points = arrays.get(curve.keyframe_points, "co", 2)
        frames, whole = points[:, 0], np.round(points[:, 0])
        near = (frames != whole) & (np.abs(frames - whole) <= frame_rate.tolerance(fps, whole / fps))
        if near.any():
            points[:, 0] = np.where(near, whole, frames)
            arrays.put(curve.keyframe_points, "co", points)
            curve.update()


def exported_to(target: Capabilities, found: list[Clip]) -> list[Clip]:
    """The clips that an exporter writes."""
    if target.clips is Clips.TIMELINE:
        return playing_together(found)
    return found if target.clips is Clips.ALL else playing_together(found)[:1]


def playing_together(found: list[Clip]) -> list[Clip]:
    """The clips that a target of one timeline gets: those that play together in the scene, or the first."""
    return list(filter(is_assigned, found)) or found[:1]


def owners() -> Iterator[bpy.types.ID]:
    """Everything in the scene that a clip can move: objects, shape keys, cameras, lights."""
    seen = set()
    for item in scene.objects():
        shapes = getattr(item.data, "shape_keys", None)
        for owner in (item, shapes, item.data if item.type in {"CAMERA", "LIGHT"} else None):
            if owner is not None and owner not in seen:
                seen.add(owner)
                yield owner


def _parts(action: bpy.types.Action, owners: list[bpy.types.ID]) -> list[tuple[bpy.types.ID, bpy.types.ActionSlot]]:
    parts = []
    for slot in action.slots:
        if curves := actions.curves(action, slot):
            fitting = [owner for owner in owners if owner.id_type == slot.target_id_type]
            users = set(slot.users()) & set(owners) or {each for each in fitting if each.name == slot.identifier[2:]}
            users = users or {owner for owner in fitting if _has_paths(owner, curves)}
            parts += [(owner, slot) for owner in owners if owner in users]
    return parts


def _has_paths(owner: bpy.types.ID, curves: list[bpy.types.FCurve]) -> bool:
    """Whether the owner has everything that the curves move; transforms alone fit any object and prove nothing."""
    if not any(curve.data_path.startswith(("pose.", "key_blocks")) for curve in curves):
        return False
    try:
        for path in {curve.data_path for curve in curves}:
            owner.path_resolve(path)
    except ValueError:
        return False
    return True
