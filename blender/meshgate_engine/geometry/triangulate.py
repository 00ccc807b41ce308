"""Cutting polygons into triangles."""

import bmesh

from ..blender_api import scene


def triangulate() -> None:
    """Cuts the polygons of all meshes into triangles, for a target whose exporter does not."""
    for mesh in {item.data for item in scene.meshes()}:
        work = bmesh.new()
        work.from_mesh(mesh)
        bmesh.ops.triangulate(work, faces=work.faces)
        work.to_mesh(mesh)
        work.free()
