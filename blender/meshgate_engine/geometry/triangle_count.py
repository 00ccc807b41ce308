"""How much geometry the scene shows, copies counted."""

import bpy


def has_more_triangles(most: int) -> bool:
    """Whether the scene shows more triangles than ``most``; each copy of a mesh counts, and none is looked into."""
    found = 0
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        if instance.object.type == "MESH":
            mesh = instance.object.data
            found += len(mesh.loops) - 2 * len(mesh.polygons)
            if found > most:
                return True
    return False


def has_vertices() -> bool:
    """Whether any mesh in the scene consists of something."""
    shown = bpy.context.evaluated_depsgraph_get().object_instances
    return any(instance.object.type == "MESH" and len(instance.object.data.vertices) for instance in shown)
