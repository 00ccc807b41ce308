"""Removes hidden objects from the scene."""

import bpy

from ..job import Job, listed
from . import object_replacement, scene

# Blender's types of objects with geometry.
_GEOMETRY = {"MESH", "CURVE", "SURFACE", "FONT", "META", "CURVES", "POINTCLOUD", "VOLUME", "GREASEPENCIL"}


def remove_hidden(job: Job) -> None:
    """Takes hidden geometry out of the scene and shows hidden skeletons.

    Exporters differ in whether they write hidden objects. Authors hide objects that are not part of the model: cutters,
    bone shapes, older versions. The objects are only unlinked, since modifiers may use them.
    """
    layer = bpy.context.view_layer
    layer.update()
    hidden = [item for item in scene.objects() if not item.visible_get(view_layer=layer)]
    left_out = [item for item in hidden if _shows_geometry(item)]
    if left_out and len(left_out) == sum(map(_shows_geometry, scene.objects())):
        # Nobody hides all geometry on purpose.
        left_out = []
    for item in left_out:
        scene.unlink(item)
    for item in hidden:
        if item not in left_out:
            _show(item)
    if left_out:
        job.warn(f"hidden objects were left out: {listed(sorted(item.name for item in left_out))}")
    object_replacement.add_missing_parents()


def _shows_geometry(item: bpy.types.Object) -> bool:
    return item.type in _GEOMETRY or item.instance_type == "COLLECTION"


def _show(item: bpy.types.Object) -> None:
    item.hide_viewport = False
    if item.name in bpy.context.view_layer.objects:
        item.hide_set(False)
        if item.visible_get():
            return
    # Its collection is still hidden or excluded.
    root = bpy.context.scene.collection
    if item.name not in root.objects:
        root.objects.link(item)
        item.hide_set(False)
