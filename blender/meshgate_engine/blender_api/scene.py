"""What is to be converted, and bringing it into a state that every exporter understands."""

from collections import defaultdict
from collections.abc import Iterator

import bpy

from .. import keys
from ..job import Job, counted, listed

# Objects that show something of the model.
GEOMETRY = {"MESH", "CURVE", "SURFACE", "FONT", "META", "CURVES", "POINTCLOUD", "VOLUME", "GREASEPENCIL"}

# Where an object is and who moves it.
_PLACE = (
    *("parent", "parent_type", "parent_bone", "matrix_parent_inverse", "rotation_mode", "location", "rotation_euler"),
    *("rotation_quaternion", "rotation_axis_angle", "scale", "delta_location", "delta_rotation_euler"),
    *("delta_rotation_quaternion", "delta_scale", "hide_render"),
)

Children = dict[bpy.types.Object | None, list[bpy.types.Object]]


def objects() -> list[bpy.types.Object]:
    """The objects of the scene."""
    return list(bpy.context.scene.objects)


def meshes() -> list[bpy.types.Object]:
    """The objects of the scene that are meshes."""
    return [item for item in bpy.context.scene.objects if item.type == "MESH"]


def armatures() -> list[bpy.types.Object]:
    """The armature objects of the scene."""
    return [item for item in bpy.context.scene.objects if item.type == "ARMATURE"]


def referred(what: bpy.types.Constraint | bpy.types.Modifier) -> Iterator[bpy.types.Object | None]:
    """The objects that its settings name, None for each that names none."""
    for attribute in what.bl_rna.properties:
        if attribute.type == "POINTER" and attribute.fixed_type.identifier == "Object":
            yield getattr(what, attribute.identifier)


def take_metres() -> float:
    """Makes the scene's unit the metre; returns by how much everything has to be scaled for that."""
    units = bpy.context.scene.unit_settings
    factor = 1.0 if units.system == "NONE" else units.scale_length
    units.system, units.scale_length = "METRIC", 1.0
    return factor


def blocks() -> Iterator[bpy.types.ID]:
    """All of Blender's data, of every kind."""
    for kind in bpy.data.bl_rna.properties:
        if kind.type == "COLLECTION":
            yield from getattr(bpy.data, kind.identifier)


def embedded() -> Iterator[bpy.types.ID]:
    """The node trees and collections that belong to others and are in none of Blender's lists."""
    data = bpy.data
    owners = (data.scenes, data.materials, data.worlds, data.lights, data.linestyles, data.textures)
    for owner in (owner for each in owners for owner in each):
        for name in ("node_tree", "collection"):
            found = getattr(owner, name, None)
            if isinstance(found, bpy.types.ID) and found.is_embedded_data:
                yield found


def node_trees() -> list[bpy.types.NodeTree]:
    """All trees of nodes that are not linked from another file."""
    trees = [found for found in embedded() if isinstance(found, bpy.types.NodeTree)]
    return [tree for tree in [*trees, *bpy.data.node_groups] if tree.is_editable]


def clear() -> None:
    """Makes the scene empty again; add-ons stay as they are."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)


def children() -> Children:
    """What hangs on each object; Blender's own answer looks through all objects for each."""
    found = defaultdict(list)
    for item in bpy.data.objects:
        found[item.parent].append(item)
    return found


def replace(old: bpy.types.Object, mesh: bpy.types.Mesh | None, hanging: Children) -> bpy.types.Object:
    """Puts an object with the mesh, or an empty, in the place of another.

    That one stays for what is made from it: a curve may be the path or the profile of others.
    """
    name = old.name
    old.name = f"{name} before"
    made = bpy.data.objects.new(name, mesh)
    made.name = name
    for attribute in _PLACE:
        setattr(made, attribute, getattr(old, attribute))
    for constraint in old.constraints:
        made.constraints.copy(constraint)
    for key, value in old.items():
        made[key] = value
    if old.animation_data and old.animation_data.action:
        keys.assign(made, old.animation_data.action, old.animation_data.action_slot)
    for child in hanging.pop(old, ()):
        # Setting the parent leaves alone how the child hangs on it.
        child.parent = made
        hanging[made].append(child)
    hanging[made.parent].append(made)
    for collection in list(old.users_collection):
        collection.objects.link(made)
        collection.objects.unlink(old)
    return made


def complete() -> None:
    """Puts empties in the place of parents out of the scene, without which some exporters leave a child out."""
    there = set(objects())
    waiting = [item for item in there if item.parent and item.parent not in there]
    hanging = children() if waiting else {}
    while waiting:
        item = waiting.pop()
        if item.parent is None or item.parent in there:
            continue
        if item.parent_type != "OBJECT":
            _take_off(item)
            continue
        made = replace(item.parent, None, hanging)
        if bpy.context.scene.objects.get(made.name) is None:
            bpy.context.scene.collection.objects.link(made)
        there.add(made)
        waiting.append(made)


def part_with_others() -> None:
    """Takes what is not in the scene off what is: glTF's exporter writes every child of an object."""
    there = set(objects())
    for item in bpy.data.objects:
        if item.parent and item not in there:
            _take_off(item)


def _take_off(item: bpy.types.Object) -> None:
    place = item.matrix_world.copy()
    item.parent = None
    item.matrix_world = place


def tell_others(job: Job) -> None:
    """Says that scenes besides the active one are lost; a .blend keeps them as they are."""
    others = len(bpy.data.scenes) - 1
    if others and job.output_format != "blend":
        job.lose(f"{counted(others, 'other scene')}: only the active one is converted")


def leave_out_hidden(job: Job) -> None:
    """Takes hidden geometry out of the scene and shows hidden skeletons.

    Exporters do not agree on hidden objects: some write them, some do not. What its author hid (cutters, bone
    shapes, older versions) is no part of the model. The objects are only unlinked, since modifiers may use them.
    """
    layer = bpy.context.view_layer
    layer.update()
    hidden = [item for item in objects() if not item.visible_get(view_layer=layer)]
    left_out = [item for item in hidden if _shows_geometry(item)]
    if left_out and len(left_out) == sum(map(_shows_geometry, objects())):
        # All of it is hidden: then hiding was not meant as leaving out.
        left_out = []
    for item in left_out:
        for collection in list(item.users_collection):
            collection.objects.unlink(item)
    for item in hidden:
        if item not in left_out:
            _show(item)
    if left_out:
        job.warn(f"hidden objects were left out: {listed(sorted(item.name for item in left_out))}")
    complete()


def _shows_geometry(item: bpy.types.Object) -> bool:
    return item.type in GEOMETRY or item.instance_type == "COLLECTION"


def _show(item: bpy.types.Object) -> None:
    item.hide_viewport = False
    if item.name in bpy.context.view_layer.objects:
        item.hide_set(False)
        if item.visible_get():
            return
    # Its collection is hidden or excluded.
    root = bpy.context.scene.collection
    if item.name not in root.objects:
        root.objects.link(item)
        item.hide_set(False)
