"""Keeps faces that share all their vertices, like the two sides of a leaf: Blender's validation removes all but one."""

import bpy
import numpy as np

from ..blender_api import arrays


def separate() -> None:
    """Gives coincident faces vertices of their own, and validates every mesh."""
    for mesh in bpy.data.meshes:
        if len(mesh.polygons) > 1:
            # Much faster than by ``loops``.
            corners = arrays.get(mesh.attributes[".corner_vert"].data, "value", dtype=np.int32)
            starts = arrays.get(mesh.polygons, "loop_start", dtype=np.int32)
            later = _find_coincident(len(mesh.vertices), corners, starts)
            if len(later):
                _separate(mesh, later, corners, starts)
        mesh.validate()


def _find_coincident(vertices: int, corners: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The indices of faces that have the same vertices as an earlier face, in any order."""
    # Each vertex gets a random number: faces with equal sums have equal vertices.
    numbers = np.random.default_rng(0).integers(0, 1 << 63, vertices, dtype=np.uint64)
    sums = np.add.reduceat(numbers[corners], starts)
    # Quicker than with the indices, which few meshes need.
    if len(np.unique(sums)) == len(sums):
        return np.empty(0, dtype=np.int64)
    _, first = np.unique(sums, return_index=True)
    return np.setdiff1d(np.arange(len(sums)), first)


def _separate(mesh: bpy.types.Mesh, later: np.ndarray, corners: np.ndarray, starts: np.ndarray) -> None:
    ends = np.append(starts[1:], len(corners))
    normals = [corner.vector.copy() for corner in mesh.corner_normals] if mesh.has_custom_normals else None
    moved = np.concatenate([np.arange(starts[face], ends[face]) for face in later])
    old, count = corners[moved], len(mesh.vertices)
    positions = arrays.get(mesh.vertices, "co", 3)
    names = [layer.name for layer in mesh.color_attributes if layer.domain == "POINT"]
    colours = {name: arrays.get(mesh.color_attributes[name].data, "color", 4) for name in names}
    mesh.vertices.add(len(moved))
    arrays.put(mesh.vertices, "co", np.concatenate([positions, positions[old]]))
    for name, values in colours.items():
        arrays.put(mesh.color_attributes[name].data, "color", np.concatenate([values, values[old]]))
    corners[moved] = np.arange(count, count + len(moved))
    arrays.put(mesh.loops, "vertex_index", corners)
    mesh.update(calc_edges=True)
    if normals:
        mesh.normals_split_custom_set(normals)
