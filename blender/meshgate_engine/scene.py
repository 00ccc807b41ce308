"""What is to be converted, and bringing it into a state that every exporter understands."""

import bpy

from .job import Job

# Objects that exporters turn into meshes.
GEOMETRY = {"MESH", "CURVE", "SURFACE", "FONT", "META", "CURVES", "POINTCLOUD", "VOLUME"}


def objects() -> list[bpy.types.Object]:
    """The objects of the scene."""
    return list(bpy.context.scene.objects)


def meshes() -> list[bpy.types.Object]:
    """The objects of the scene that are meshes."""
    return [item for item in bpy.context.scene.objects if item.type == "MESH"]


def armatures() -> list[bpy.types.Object]:
    """The armature objects of the scene."""
    return [item for item in bpy.context.scene.objects if item.type == "ARMATURE"]


def take_metres() -> float:
    """Makes the scene's unit the metre; returns by how much everything has to be scaled for that."""
    units = bpy.context.scene.unit_settings
    factor = 1.0 if units.system == "NONE" else units.scale_length
    units.system, units.scale_length = "METRIC", 1.0
    return factor


def clear() -> None:
    """Makes the scene empty again; add-ons stay as they are."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)


def tell_others(job: Job) -> None:
    """Says that scenes besides the active one are lost; a .blend keeps them as they are."""
    others = len(bpy.data.scenes) - 1
    if others and job.output_format != "blend":
        job.lose(f"{others} other scene{'s' if others > 1 else ''}: only the active one is converted")


def leave_out_hidden(job: Job) -> None:
    """Takes hidden geometry out of the scene and shows hidden skeletons.

    Exporters do not agree on hidden objects: some write them, some do not. What its author hid (cutters, bone
    shapes, older versions) is no part of the model. The objects are only unlinked, since modifiers may use them.
    """
    layer = bpy.context.view_layer
    layer.update()
    hidden = [item for item in objects() if not item.visible_get(view_layer=layer)]
    left_out = [item for item in hidden if item.type in GEOMETRY]
    if left_out and len(left_out) == sum(item.type in GEOMETRY for item in objects()):
        # All of it is hidden: then hiding was not meant as leaving out.
        left_out = []
    for item in left_out:
        for collection in list(item.users_collection):
            collection.objects.unlink(item)
    for item in hidden:
        if item not in left_out:
            _show(item)
    if left_out:
        names = ", ".join(sorted(item.name for item in left_out)[:5])
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        job.warn(f"hidden objects were left out: {names}{more}")


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
