"""Records and writes keys of every frame as rows: a row has the values of one thing in one frame."""

from collections.abc import Sequence

import bpy
import numpy as np
from mathutils import Matrix

from ..blender_api import actions, arrays

# Smaller changes of a value do not count as motion.
TOLERANCE = 1e-6


class Baked:
    """A thing that gets a key for each frame; its subclasses say how each kind of thing is read and set.

    The row of an object or bone has ten numbers: location, rotation as a quaternion (w, x, y, z), and scale.
    """

    # Properties with the number of their values, in the order of a row, and the row of a thing at rest.
    properties: tuple[tuple[str, int], ...] = (("location", 3), ("rotation_quaternion", 4), ("scale", 3))
    rest = np.float32([0, 0, 0, 1, 0, 0, 0, 1, 1, 1])

    # Whether exporters begin each clip with the thing at rest; otherwise they begin with its place in the scene.
    starts_at_rest = True

    def __init__(self, thing: bpy.types.Object | bpy.types.PoseBone | bpy.types.ShapeKey) -> None:
        self.thing = thing
        # The data block that an action is assigned to.
        self.owner: bpy.types.ID = thing.id_data

    @property
    def path(self) -> str:
        """The beginning of the RNA paths of its curves."""
        return f"{self.thing.path_from_id()}."

    def row(self, evaluated: bpy.types.ID, before: np.ndarray | None) -> Sequence[float]:
        """The row of the thing in its evaluated owner; ``before`` is the row of the frame before, None in the first."""
        raise NotImplementedError

    def set(self, row: np.ndarray) -> None:
        """Gives the thing the values of a row."""
        self.thing.rotation_mode = "QUATERNION"
        self.thing.location, self.thing.rotation_quaternion, self.thing.scale = row[:3], row[3:7], row[7:]


# The rows of each thing: shape (frames, values).
Rows = dict[Baked, np.ndarray]


def record(groups: list[tuple[bpy.types.ID, list[Baked]]], frames: Sequence[int]) -> Rows:
    """Plays the frames and records the rows of everything in ``groups``, which have an owner each."""
    everything = [baked for _owner, group in groups for baked in group]
    rows = {baked: np.empty((len(frames), len(baked.rest)), dtype=np.float32) for baked in everything}
    for number, frame in enumerate(frames):
        bpy.context.scene.frame_set(frame)
        graph = bpy.context.evaluated_depsgraph_get()
        for owner, group in groups:
            evaluated = owner.evaluated_get(graph)
            for baked in group:
                rows[baked][number] = baked.row(evaluated, rows[baked][number - 1] if number else None)
    return rows


def transform_row(matrix: Matrix, before: np.ndarray | None) -> tuple[float, ...]:
    """The row of a matrix; of its two quaternions the one that is closer to the row before."""
    location, rotation, scale = matrix.decompose()
    if before is not None and rotation.dot(before[3:7]) < 0:
        rotation.negate()
    return (*location, *rotation, *scale)


def differ(rows: np.ndarray) -> bool:
    """Whether any value changes from row to row."""
    return bool(np.ptp(rows, axis=0).max() >= TOLERANCE)


def write_rows(bag: bpy.types.ActionChannelbag, baked: Baked, frames: Sequence[float], rows: np.ndarray) -> None:
    """Adds curves with a key for each frame and row; one key for a value that does not change."""
    linear = bpy.types.Keyframe.bl_rna.properties["interpolation"].enum_items["LINEAR"].value
    paths = [(baked.path + name, index) for name, count in baked.properties for index in range(count)]
    for (path, index), values in zip(paths, rows.T, strict=True):
        count = 1 if np.ptp(values) < TOLERANCE else len(frames)
        curve = bag.fcurves.new(path, index=index)
        curve.keyframe_points.add(count)
        arrays.put(curve.keyframe_points, "co", np.column_stack((frames[:count], values[:count])))
        arrays.put(curve.keyframe_points, "interpolation", np.full(count, linear))
        curve.update()


def new_clip(name: str, frames: Sequence[int], rows: Rows) -> None:
    """Makes a clip of rows and assigns it to their owners."""
    action = bpy.data.actions.new(name)
    action.layers.new("Layer").strips.new(type="KEYFRAME")
    for owner in dict.fromkeys(baked.owner for baked in rows):
        slot = action.slots.new(owner.id_type, owner.name)
        bag = actions.channelbag(action, slot)
        for baked in [baked for baked in rows if baked.owner == owner]:
            write_rows(bag, baked, frames, rows[baked])
        actions.assign(owner, action, slot)
