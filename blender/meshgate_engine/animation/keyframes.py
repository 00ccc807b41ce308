"""Keys for every frame: of the transform of an object or pose bone, or of the value of a blend shape.

A row holds the values of one frame: location, rotation as a quaternion (w, x, y, z) and scale, ten numbers; or the
value of a blend shape alone.
"""

from collections.abc import Sequence

import bpy
import numpy as np
from mathutils import Matrix

from ..blender_api import actions, arrays

Animated = bpy.types.Object | bpy.types.PoseBone | bpy.types.ShapeKey

_TRANSFORM = (("location", 3), ("rotation_quaternion", 4), ("scale", 3))
_VALUE = (("value", 1),)

# Smaller changes of a value are none.
TOLERANCE = 1e-6

_AT_REST = np.float32([[0, 0, 0, 1, 0, 0, 0, 1, 1, 1]])


def rest_row(thing: Animated) -> np.ndarray:
    """The row of an object or bone without transform, or of a blend shape with value 0: shape (1, width)."""
    return np.zeros((1, 1), dtype=np.float32) if _is_shape(thing) else _AT_REST


def empty_rows(thing: Animated, frames: int) -> np.ndarray:
    """Rows without values: shape (frames, width)."""
    return np.empty((frames, rest_row(thing).shape[1]), dtype=np.float32)


def _is_shape(thing: Animated) -> bool:
    return isinstance(thing, bpy.types.ShapeKey)


def transform_row(matrix: Matrix, before: np.ndarray | None) -> tuple[float, ...]:
    """The row of a matrix; of its two quaternions the one that is closer to the row before."""
    location, rotation, scale = matrix.decompose()
    if before is not None and rotation.dot(before[3:7]) < 0:
        rotation.negate()
    return (*location, *rotation, *scale)


def set_transform(thing: Animated, values: np.ndarray) -> None:
    """Sets the transform, or the value, to a row."""
    if _is_shape(thing):
        thing.value = values[0]
        return
    thing.rotation_mode = "QUATERNION"
    thing.location, thing.rotation_quaternion, thing.scale = values[:3], values[3:7], values[7:]


def differ(rows: np.ndarray) -> bool:
    """Whether any value changes from row to row."""
    return bool(np.ptp(rows, axis=0).max() >= TOLERANCE)


def path(thing: Animated) -> str:
    """The beginning of the RNA paths of its curves."""
    return "" if isinstance(thing, bpy.types.Object) else f"{thing.path_from_id()}."


def write_rows(bag: bpy.types.ActionChannelbag, thing: Animated, frames: Sequence[int], rows: np.ndarray) -> None:
    """Adds curves with a key for each frame and row."""
    curves = _VALUE if _is_shape(thing) else _TRANSFORM
    paths = [(path(thing) + name, index) for name, count in curves for index in range(count)]
    for column, (name, index) in enumerate(paths):
        _fill(bag.fcurves.new(name, index=index), frames, rows[:, column])


def new_clip(name: str, frames: Sequence[int], rows: dict[Animated, np.ndarray]) -> None:
    """Makes a clip of rows and assigns it to their owners."""
    action = bpy.data.actions.new(name)
    strip = action.layers.new("Layer").strips.new(type="KEYFRAME")
    for owner in dict.fromkeys(thing.id_data for thing in rows):
        slot = action.slots.new(owner.id_type, owner.name)
        bag = strip.channelbag(slot, ensure=True)
        for thing in [thing for thing in rows if thing.id_data == owner]:
            write_rows(bag, thing, frames, rows[thing])
        actions.assign(owner, action, slot)


def _fill(curve: bpy.types.FCurve, frames: Sequence[int], values: np.ndarray) -> None:
    if np.ptp(values) < TOLERANCE:
        frames, values = frames[:1], values[:1]
    curve.keyframe_points.add(len(frames))
    arrays.put(curve.keyframe_points, "co", np.column_stack((frames, values)))
    linear = bpy.types.Keyframe.bl_rna.properties["interpolation"].enum_items["LINEAR"].value
    arrays.put(curve.keyframe_points, "interpolation", np.full(len(frames), linear))
    curve.update()
