"""Bakes UV transforms and second UV layers into the first layer, for targets whose readers use no other UVs.

Also reports textures that nodes place without UVs, and wrap modes that a target does not hold.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import bpy
import numpy as np

from ..blender_api import arrays, scene
from ..job import Job, counted
from . import texture_usage

_MOST_STEPS = 50  # nodes between a texture and its UVs


@dataclass(frozen=True)
class _Placement:
    """A texture's UV layer, empty for the render layer, and the 3 by 3 matrix that its UVs are multiplied by."""

    layer: str = ""
    matrix: tuple[tuple[float, ...], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    wraps_differ: bool = False  # whether the axes have different wrap modes


def apply(job: Job) -> None:
    """Bakes the placement of textures into the UVs if the target needs it, and reports what the target cannot hold."""
    target = job.target
    images = {material: _images(material) for material in texture_usage.scene_materials()}
    if target.first_uvs_only and any(node.inputs["Vector"].is_linked for nodes in images.values() for node in nodes):
        _separate_meshes()
    users = defaultdict(dict)
    for item in scene.meshes():
        for index, slot in enumerate(item.material_slots):
            if slot.material:
                users[slot.material].setdefault(item.data, set()).add(index)
    used = {mesh for meshes in users.values() for mesh in meshes}
    rendered = {mesh: next((layer.name for layer in mesh.uv_layers if layer.active_render), "") for mesh in used}
    counts = Counter()
    for material, meshes in users.items():
        placements = {node: _placement(node) for node in images[material]}
        for node, placement in placements.items():
            if placement and all(rendered[mesh] == placement.layer for mesh in meshes):
                placements[node] = replace(placement, layer="")
        counts["placed by nodes"] += sum(placement is None for placement in placements.values())
        if target.first_uvs_only and material.is_editable:
            _bake(placements, meshes, rendered, counts)
        if target.wrap_modes is not None:
            counts["unsmoothed"] += sum(node.interpolation == "Closest" for node in placements)
            by_uvs = [(node, placement) for node, placement in placements.items() if placement]
            wrapped = sum(each.wraps_differ or node.extension not in target.wrap_modes for node, each in by_uvs)
            if wrapped and any(map(_exceeds_unit_square, meshes)):
                counts["wrapped"] += wrapped
    _report(job, counts)


def _report(job: Job, counts: Counter) -> None:
    target, textures = job.output_format, {kind: counted(count, "texture") for kind, count in counts.items()}
    job.lose("texture placement", counts["placed by nodes"], "UVs only")
    job.lose("texture UVs", counts["other UVs"], "UVs of the colour")
    if counts["transformed"]:
        own = "places of their own" if counts["transformed"] > 1 else "a place of its own"
        job.warn(f"{textures['transformed']} came out with {own} beside: not every reader of {target} asks for it")
    if counts["wrapped"]:
        job.warn(f"{textures['wrapped']} may repeat differently beyond the edges: {target} cannot hold the wrap mode")
    if counts["unsmoothed"]:
        job.warn(f"{textures['unsmoothed']} may look smoothed: {target} has no setting for sharp pixels")


def _separate_meshes() -> None:
    """Copies meshes that objects with different materials share."""
    first: dict[bpy.types.Mesh, list] = {}
    for item in scene.meshes():
        used = [slot.material for slot in item.material_slots]
        if first.setdefault(item.data, used) != used:
            item.data = item.data.copy()


def _images(material: bpy.types.Material) -> list[bpy.types.ShaderNodeTexImage]:
    """The image nodes of the surface, those of its colour first."""
    output = material.node_tree.get_output_node("ALL") if material.node_tree else None
    return texture_usage.image_nodes(output.inputs["Surface"]) if output else []


def _placement(node: bpy.types.ShaderNodeTexImage) -> _Placement | None:
    """The placement of an image; None when it is not by UVs."""
    if node.projection != "FLAT":
        return None
    socket, matrix, wraps_differ = node.inputs["Vector"], np.identity(3), False
    for _ in range(_MOST_STEPS):
        if not socket.is_linked:
            return _rounded("", matrix, wraps_differ) if socket.node == node else None
        link = socket.links[0]
        source = link.from_node
        if source.type == "UVMAP":
            return _rounded(source.uv_map, matrix, wraps_differ)
        if source.type == "ATTRIBUTE" and source.attribute_type == "GEOMETRY":
            return _rounded(source.attribute_name, matrix, wraps_differ)
        if source.type == "GROUP" or (source.type == "TEX_COORD" and link.from_socket.name == "UV"):
            # Add-ons with node groups for UVs export the placement themselves.
            return _rounded("", matrix, wraps_differ)
        if source.type == "REROUTE":
            socket = source.inputs[0]
        elif source.type == "MAPPING":
            more = _mapping_matrix(source)
            if more is None:
                return None
            socket, matrix = source.inputs["Vector"], matrix @ more
        elif source.type == "COMBXYZ":
            parts = _separated_vector(source)
            if parts is None:
                return None
            socket, wraps_differ = parts.inputs[0], True
        else:
            return None
    return None


def _rounded(layer: str, matrix: np.ndarray, wraps_differ: bool) -> _Placement:
    return _Placement(layer, tuple(tuple(round(float(value), 6) for value in row) for row in matrix), wraps_differ)


def _mapping_matrix(node: bpy.types.ShaderNodeMapping) -> np.ndarray | None:
    """The 3 by 3 matrix of a mapping node; None when it does more than move, rotate and scale in the plane."""
    names = ("Location", "Rotation", "Scale")
    if node.vector_type != "POINT" or any(node.inputs[name].is_linked for name in names):
        return None
    (x, y, _z), (roll, pitch, angle), (width, height, _depth) = (node.inputs[name].default_value for name in names)
    if roll or pitch:
        return None
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.array([[cosine * width, -sine * height, x], [sine * width, cosine * height, y], [0.0, 0.0, 1.0]])


def _separated_vector(node: bpy.types.ShaderNode) -> bpy.types.ShaderNode | None:
    """The node that separates the vector which this one combines, with a wrap mode for each axis in between."""
    for socket in node.inputs[:2]:
        source = socket.links[0].from_node if socket.is_linked else None
        if source and source.type == "MATH" and source.operation in {"WRAP", "PINGPONG"}:
            source = source.inputs[0].links[0].from_node if source.inputs[0].is_linked else None
        if source is None or source.type != "SEPXYZ":
            return None
    return source


def _bake(
    placements: dict, meshes: dict[bpy.types.Mesh, set[int]], rendered: dict[bpy.types.Mesh, str], counts: Counter
) -> None:
    """Bakes the placement of the first image into the first UV layer of the material's meshes."""
    main = next((placement for placement in placements.values() if placement), None)
    if main is None:
        return
    plain = main.matrix == _Placement().matrix
    for mesh, slots in meshes.items():
        _bake_into_first_layer(mesh, slots, main, rendered[mesh])
    for node, placement in [(node, placement) for node, placement in placements.items() if placement]:
        if placement.layer == main.layer and plain and placement.matrix != main.matrix:
            # FBX and OBJ hold a transform beside the texture.
            counts["transformed"] += 1
        else:
            counts["other UVs"] += (placement.layer, placement.matrix) != (main.layer, main.matrix)
            scene.unlink_socket(node.inputs["Vector"])


def _bake_into_first_layer(mesh: bpy.types.Mesh, slots: set[int], placement: _Placement, rendered: str) -> None:
    layers = mesh.uv_layers
    used = layers.get(placement.layer) or layers.get(rendered)
    if used is None:
        return
    first, name = layers[0], used.name
    # OBJ's exporter takes the active layer.
    first.active = True
    plain = placement.matrix == _Placement().matrix
    if first.name == name and plain:
        return
    indices = arrays.get(mesh.polygons, "material_index", dtype=np.int32)
    counts = arrays.get(mesh.polygons, "loop_total", dtype=np.int32)
    chosen = np.repeat(np.isin(indices, list(slots)), counts)
    before, there = arrays.get(first.uv, "vector", 2), arrays.get(used.uv, "vector", 2)
    matrix = np.array(placement.matrix)
    placed = there if plain else there @ matrix[:2, :2].T + matrix[:2, 2]
    # By ``layer.uv``, which is quicker, Blender 5.0 writes into the copies that other meshes share.
    if first.name != name:
        # The first layer's UVs move to the other layer.
        arrays.put(used.data, "uv", np.where(chosen[:, None], before, there))
    arrays.put(first.data, "uv", np.where(chosen[:, None], placed, before))
    first.active_render = True


def _exceeds_unit_square(mesh: bpy.types.Mesh) -> bool:
    edges = 0.001
    layers = (arrays.get(layer.uv, "vector", 2) for layer in mesh.uv_layers if len(layer.uv))
    return any(points.min() < -edges or points.max() > 1 + edges for points in layers)
