"""Bakes bones that constraints and drivers move by something outside of their skeleton.

Exporters evaluate the constraints within a skeleton, except vrma's, which reads only keys (``keys_only``). None
evaluates objects outside of the skeleton, unless one clip moves both.
"""

from collections.abc import Iterator

import bpy
import numpy as np
from mathutils import Matrix, Quaternion

from ..blender_api import actions, scene
from . import keyframes


class BakedBone(keyframes.Baked):
    """A bone with a key for each frame, in the space of its rest pose and parent."""

    def __init__(self, bone: bpy.types.PoseBone, parent: "BakedBone | None" = None) -> None:
        super().__init__(bone)
        self._rest: dict[str, Matrix] = {"matrix_local": bone.bone.matrix_local.copy()}
        if parent is not None:
            self._rest["parent_matrix_local"] = parent.thing.bone.matrix_local.copy()
        self._parent = parent
        # The matrix of its latest row in the space of the skeleton.
        self._pose = Matrix()

    def row(self, evaluated: bpy.types.Object, before: np.ndarray | None) -> tuple[float, ...]:
        # The parent's pose is that of its row: rows hold no shear, which constraints can cause.
        space = self._rest | ({"parent_matrix": self._parent._pose} if self._parent else {})
        convert = self.thing.bone.convert_local_to_pose
        made = convert(evaluated.pose.bones[self.thing.name].matrix, invert=True, **space)
        row = keyframes.transform_row(made, before)
        self._pose = convert(Matrix.LocRotScale(row[:3], Quaternion(row[3:7]), row[7:]), **space)
        return row

    @staticmethod
    def has_own_motion(item: bpy.types.Object) -> bool:
        """Whether bones of the skeleton move without any action."""
        return bool(_drivers(item))

    @staticmethod
    def remove_constraints_and_drivers(item: bpy.types.Object) -> None:
        """Removes the constraints and drivers of a skeleton's bones."""
        for curve in _drivers(item):
            item.animation_data.drivers.remove(curve)
        for bone in item.pose.bones:
            for constraint in list(bone.constraints):
                bone.constraints.remove(constraint)


def find(*, within: bool) -> dict[bpy.types.Object, list[BakedBone]]:
    """The bones, parents first, of skeletons that something outside moves, or that move their own bones ``within``."""
    worn = {mesh.find_armature() for mesh in scene.meshes() if mesh.visible_get()}
    # Blender does not evaluate hidden skeletons that no visible mesh uses.
    shown = [item for item in scene.armatures() if item.visible_get() or item in worn]
    return {item: _baked(item) for item in shown if _needs_bake(item, within=within)}


def targets(constraint: bpy.types.Constraint) -> Iterator[bpy.types.Object]:
    """The objects that a constraint refers to."""
    yield from scene.referenced_objects(constraint)
    for target in getattr(constraint, "targets", ()):
        yield target.target


def _baked(item: bpy.types.Object) -> list[BakedBone]:
    made: dict[str, BakedBone] = {}
    # Blender lists the bones of an armature parents first, those of a pose in any order.
    for bone in (item.pose.bones[each.name] for each in item.data.bones):
        made[bone.name] = BakedBone(bone, made[bone.parent.name] if bone.parent else None)
    return list(made.values())


def _drivers(item: bpy.types.Object) -> list[bpy.types.FCurve]:
    """The drivers of the bones of a skeleton and of their constraints."""
    return [curve for curve in actions.drivers(item) if curve.data_path.startswith('pose.bones["')]


def _needs_bake(item: bpy.types.Object, *, within: bool) -> bool:
    constraints = [constraint for bone in item.pose.bones for constraint in bone.constraints if not constraint.mute]
    if within:
        return bool(constraints or _drivers(item))
    others = {target for constraint in constraints for target in targets(constraint)} - {item, None}
    return bool(others) or any(_reads_outside(curve.driver, item) for curve in _drivers(item))


def _reads_outside(driver: bpy.types.Driver, item: bpy.types.Object) -> bool:
    read = [target.id for variable in driver.variables for target in variable.targets]
    return "frame" in driver.expression or any(source not in {item, item.data} for source in read)
