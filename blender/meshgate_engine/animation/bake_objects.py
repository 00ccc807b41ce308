"""Bakes objects that constraints, drivers and rigid bodies move."""

import bpy
import numpy as np
from mathutils import Matrix

from ..blender_api import actions, scene
from . import keyframes

# The properties that a key of the whole transform replaces.
TRANSFORM = {
    *("location", "rotation_euler", "rotation_quaternion", "rotation_axis_angle", "scale"),
    *("delta_location", "delta_rotation_euler", "delta_rotation_quaternion", "delta_scale"),
}


class BakedObject(keyframes.Baked):
    """An object with a key for each frame, in the space of its parent."""

    path = ""
    starts_at_rest = False

    def row(self, evaluated: bpy.types.Object, before: np.ndarray | None) -> tuple[float, ...]:
        return keyframes.transform_row(_parent(evaluated).inverted_safe() @ evaluated.matrix_world, before)

    @staticmethod
    def has_own_motion(item: bpy.types.Object) -> bool:
        """Whether the object moves without any action."""
        return bool(_drivers(item)) or is_simulated(item)

    @staticmethod
    def remove_constraints_and_drivers(item: bpy.types.Object) -> None:
        """Removes constraints, drivers, delta transforms, and parents other than objects and bones."""
        item.constraints.clear()
        for curve in _drivers(item):
            item.animation_data.drivers.remove(curve)
        item.delta_location, item.delta_scale = (0, 0, 0), (1, 1, 1)
        item.delta_rotation_euler, item.delta_rotation_quaternion = (0, 0, 0), (1, 0, 0, 0)
        if item.parent and item.parent_type not in {"OBJECT", "ARMATURE", "BONE"}:
            item.parent = None


def find() -> dict[bpy.types.Object, list[BakedObject]]:
    """The visible objects that constraints, drivers or a simulation move."""
    return {
        item: [BakedObject(item)]
        for item in scene.objects()
        if item.visible_get() and (not all(each.mute for each in item.constraints) or BakedObject.has_own_motion(item))
    }


def is_simulated(item: bpy.types.Object) -> bool:
    """Whether the object is a rigid body that the simulation moves."""
    simulation, body = bpy.context.scene.rigidbody_world, item.rigid_body
    # The property ``kinematic`` may be animated, so it decides nothing.
    return bool(simulation and simulation.enabled and body and body.type == "ACTIVE" and body.enabled)


def _drivers(item: bpy.types.Object) -> list[bpy.types.FCurve]:
    return [curve for curve in actions.drivers(item) if curve.data_path in TRANSFORM]


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
