"""Cuts polygons into triangles."""

import bmesh

from ..blender_api import scene


def triangulate() -> None:
    """Cuts the polygons of all meshes into triangles; for .blend, as the other exporters do it themselves."""
    for mesh in {item.data for item in scene.meshes()}:
        work = bmesh.new()
        work.from_mesh(mesh)
        bmesh.ops.triangulate(work, faces=work.faces)
        work.to_mesh(mesh)
        work.free()
