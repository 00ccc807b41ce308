"""Replaces objects by others, and detaches them from their parents."""

from collections import defaultdict

import bpy

from . import actions, scene

# The properties that determine an object's place, motion and visibility.
_TRANSFORM = (
    *("parent", "parent_type", "parent_bone", "matrix_parent_inverse", "rotation_mode", "location", "rotation_euler"),
    *("rotation_quaternion", "rotation_axis_angle", "scale", "delta_location", "delta_rotation_euler"),
    *("delta_rotation_quaternion", "delta_scale", "hide_render"),
)

Children = dict[bpy.types.Object | None, list[bpy.types.Object]]


def children() -> Children:
    """The children of each object; Blender's ``children`` looks through all objects for each one."""
    found = defaultdict(list)
    for item in bpy.data.objects:
        found[item.parent].append(item)
    return found


def replace(old: bpy.types.Object, mesh: bpy.types.Mesh | None, children_of: Children) -> bpy.types.Object:
    """Puts an object with the mesh, or an empty, in the place of another; updates ``children_of``.

    The old object is only unlinked: a curve may be the path or the profile of others.
    """
    name = old.name
    old.name = f"{name} before"
    made = bpy.data.objects.new(name, mesh)
    made.name = name
    for attribute in _TRANSFORM:
        setattr(made, attribute, getattr(old, attribute))
    for constraint in old.constraints:
        made.constraints.copy(constraint)
    for key, value in old.items():
        made[key] = value
    if old.animation_data and old.animation_data.action:
        actions.assign(made, old.animation_data.action, old.animation_data.action_slot)
    for child in children_of.pop(old, ()):
        # Setting the parent keeps the child's ``matrix_parent_inverse``.
        child.parent = made
        children_of[made].append(child)
    children_of[made.parent].append(made)
    for collection in list(old.users_collection):
        collection.objects.link(made)
        collection.objects.unlink(old)
    return made


def add_missing_parents() -> None:
    """Replaces parents outside of the scene by empties: some exporters leave out a child without its parent."""
    there = set(scene.objects())
    waiting = [item for item in there if item.parent and item.parent not in there]
    children_of = children() if waiting else {}
    while waiting:
        item = waiting.pop()
        if item.parent is None or item.parent in there:
            continue
        if item.parent_type != "OBJECT":
            _detach(item)
            continue
        made = replace(item.parent, None, children_of)
        if bpy.context.scene.objects.get(made.name) is None:
            bpy.context.scene.collection.objects.link(made)
        there.add(made)
        waiting.append(made)


def detach_out_of_scene_objects() -> None:
    """Detaches objects outside of the scene from their parents: glTF's exporter writes every child of an object."""
    there = set(scene.objects())
    for item in bpy.data.objects:
        if item.parent and item not in there:
            _detach(item)


def _detach(item: bpy.types.Object) -> None:
    place = item.matrix_world.copy()
    item.parent = None
    item.matrix_world = place
