"""Counts triangles, and cuts polygons into them."""

import bmesh
import bpy

from ..blender_api import scene


def has_more_than(most: int) -> bool:
    """Whether the evaluated scene has more than ``most`` triangles, instances counted."""
    found = 0
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        if instance.object.type == "MESH":
            found += len(instance.object.data.loops) - 2 * len(instance.object.data.polygons)
            if found > most:
                return True
    return False


def has_vertices() -> bool:
    """Whether any mesh in the evaluated scene has vertices."""
    shown = bpy.context.evaluated_depsgraph_get().object_instances
    return any(instance.object.type == "MESH" and len(instance.object.data.vertices) for instance in shown)


def triangulate() -> None:
    """Cuts the polygons of all meshes into triangles; for .blend, as the other exporters do it themselves."""
    for mesh in {item.data for item in scene.meshes()}:
        work = bmesh.new()
        work.from_mesh(mesh)
        bmesh.ops.triangulate(work, faces=work.faces)
        work.to_mesh(mesh)
        work.free()
