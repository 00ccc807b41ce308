"""Keys for the transform of an object, one for each frame."""

from collections.abc import Sequence

import bpy
import numpy as np
from mathutils import Matrix

_CURVES = (("location", 3), ("rotation_quaternion", 4), ("scale", 3))

# What changes less does not change.
_HAIR = 1e-6


def row(matrix: Matrix, before: np.ndarray | None) -> tuple[float, ...]:
    """Location, rotation and scale; the rotation is the one of its two quaternions that is next to the row before."""
    location, rotation, scale = matrix.decompose()
    if before is not None and rotation.dot(before[3:7]) < 0:
        rotation.negate()
    return (*location, *rotation, *scale)


def stand(item: bpy.types.Object, values: np.ndarray) -> None:
    """Puts an object where a row says."""
    item.rotation_mode = "QUATERNION"
    item.location, item.rotation_quaternion, item.scale = values[:3], values[3:7], values[7:]


def move(rows: np.ndarray) -> bool:
    """Whether the rows differ from each other."""
    return bool(np.ptp(rows, axis=0).max() >= _HAIR)


def write(bag: bpy.types.ActionChannelbag, frames: Sequence[int], rows: np.ndarray) -> None:
    """Makes curves of the rows, which are one for each frame."""
    paths = [(path, index) for path, count in _CURVES for index in range(count)]
    for column, (path, index) in enumerate(paths):
        _set(bag.fcurves.new(path, index=index), frames, rows[:, column])


def make_clip(name: str, frames: Sequence[int], rows: dict[bpy.types.Object, np.ndarray]) -> None:
    """Makes a clip of the objects that move, if any does."""
    moving = [item for item in rows if move(rows[item])]
    if not moving:
        return
    action = bpy.data.actions.new(name)
    strip = action.layers.new("Layer").strips.new(type="KEYFRAME")
    for item in moving:
        slot = action.slots.new("OBJECT", item.name)
        write(strip.channelbag(slot, ensure=True), frames, rows[item])
        assign(item, action, slot)


def _set(curve: bpy.types.FCurve, frames: Sequence[int], values: np.ndarray) -> None:
    if np.ptp(values) < _HAIR:
        frames, values = frames[:1], values[:1]
    curve.keyframe_points.add(len(frames))
    curve.keyframe_points.foreach_set("co", np.column_stack((frames, values)).astype(np.float32).ravel())
    linear = bpy.types.Keyframe.bl_rna.properties["interpolation"].enum_items["LINEAR"].value
    curve.keyframe_points.foreach_set("interpolation", np.full(len(frames), linear, dtype=np.int32))
    curve.update()


def assign(owner: bpy.types.ID, action: bpy.types.Action, slot: bpy.types.ActionSlot) -> None:
    """Lets an action move its owner."""
    data = owner.animation_data or owner.animation_data_create()
    data.action = action
    data.action_slot = slot
