"""Counts triangles and vertices of the evaluated scene."""

import bpy


def has_more_triangles(most: int) -> bool:
    """Whether the scene has more triangles than ``most``, instances counted."""
    found = 0
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        if instance.object.type == "MESH":
            mesh = instance.object.data
            found += len(mesh.loops) - 2 * len(mesh.polygons)
            if found > most:
                return True
    return False


def has_vertices() -> bool:
    """Whether any mesh in the scene has vertices."""
    shown = bpy.context.evaluated_depsgraph_get().object_instances
    return any(instance.object.type == "MESH" and len(instance.object.data.vertices) for instance in shown)
