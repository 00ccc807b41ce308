"""Bakes bones that constraints and drivers move by something outside of their skeleton.

Exporters evaluate what a skeleton does by itself, except vrma's, which reads the keys alone. None evaluates what moves
outside of it, unless one clip moves both.
"""

from collections.abc import Iterator

import bpy
from mathutils import Matrix, Quaternion

from ..blender_api import scene
from . import keyframes

_PREFIX = 'pose.bones["'


def needing_bake(*, within: bool) -> list[bpy.types.Object]:
    """The skeletons with bones that something outside of them moves, or that move each other ``within``."""
    worn = {mesh.find_armature() for mesh in scene.meshes() if mesh.visible_get()}
    # Blender does not evaluate hidden skeletons that no visible mesh uses.
    shown = [item for item in scene.armatures() if item.visible_get() or item in worn]
    return [item for item in shown if _needs_bake(item, within=within)]


def drivers(item: bpy.types.Object) -> list[bpy.types.FCurve]:
    """The drivers of the bones of a skeleton and of their constraints."""
    data = item.animation_data
    return [curve for curve in data.drivers if curve.data_path.startswith(_PREFIX)] if data else []


def targets(constraint: bpy.types.Constraint) -> Iterator[bpy.types.Object]:
    """The objects that a constraint refers to."""
    yield from scene.referenced_objects(constraint)
    for target in getattr(constraint, "targets", ()):
        yield target.target


def _needs_bake(item: bpy.types.Object, *, within: bool) -> bool:
    constraints = [constraint for bone in item.pose.bones for constraint in bone.constraints if not constraint.mute]
    if within:
        return bool(constraints or drivers(item))
    others = {target for constraint in constraints for target in targets(constraint)} - {item, None}
    return bool(others) or any(_reads_outside(curve.driver, item) for curve in drivers(item))


def _reads_outside(driver: bpy.types.Driver, item: bpy.types.Object) -> bool:
    read = [target.id for variable in driver.variables for target in variable.targets]
    return "frame" in driver.expression or any(source not in {item, item.data} for source in read)


def depth_first(item: bpy.types.Object) -> list[bpy.types.PoseBone]:
    """The bones of a skeleton, parents before children."""
    ordered: list[bpy.types.PoseBone] = []
    waiting = [bone for bone in item.pose.bones if not bone.parent]
    while waiting:
        bone = waiting.pop()
        ordered.append(bone)
        waiting += bone.children
    return ordered


def record(shown: bpy.types.Object, ordered: list[bpy.types.PoseBone], poses: dict, number: int) -> None:
    """Adds the evaluated pose to the rows of the bones, each in the space of its rest pose and parent.

    The parent is taken from its row and not from the pose: rows hold no shear, which constraints can cause.
    """
    made: dict[str, Matrix] = {}
    for bone in ordered:
        kept, above = poses[bone], bone.parent
        rest: dict = {"matrix_local": bone.bone.matrix_local}
        if above is not None:
            rest |= {"parent_matrix": made[above.name], "parent_matrix_local": above.bone.matrix_local}
        local = bone.bone.convert_local_to_pose(shown.pose.bones[bone.name].matrix, invert=True, **rest)
        kept[number] = keyframes.transform_row(local, kept[number - 1] if number else None)
        values = kept[number].tolist()
        again = Matrix.LocRotScale(values[:3], Quaternion(values[3:7]), values[7:])
        made[bone.name] = bone.bone.convert_local_to_pose(again, **rest)


def remove_movers(item: bpy.types.Object) -> None:
    """Removes the constraints and drivers of a skeleton's bones."""
    for curve in drivers(item):
        item.animation_data.drivers.remove(curve)
    for bone in item.pose.bones:
        for constraint in list(bone.constraints):
            bone.constraints.remove(constraint)
