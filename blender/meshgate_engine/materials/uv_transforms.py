"""Where textures lie on the faces: which UVs they take, moved, turned and scaled, and what is outside of their square.

FBX and OBJ are read by the first UVs alone: what nodes make of a material's UVs is done to the UVs there.
"""

from collections import defaultdict
from dataclasses import dataclass, replace

import bpy
import numpy as np

from ..blender_api import scene
from ..capabilities import USD
from ..job import Job, counted
from . import texture_usage

_BAKED = {"fbx", "obj"}

# More nodes than these are between no texture and its UVs.
_MOST_STEPS = 50

# Which ways of going on outside of the square a target's textures hold; that of all is to repeat.
_GOING_ON = {
    "fbx": {"REPEAT", "EXTEND", "CLIP"},
    "obj": {"REPEAT"},
    **{name: {"REPEAT", "EXTEND", "CLIP", "MIRROR"} for name in USD},
}


@dataclass(frozen=True)
class _Layout:
    """The layer of UVs, empty for the one that is rendered, and the matrix that they are multiplied by."""

    layer: str = ""
    matrix: tuple[tuple[float, ...], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    # Nodes make one axis go on otherwise than the other.
    mixed: bool = False


@dataclass
class _Told:
    """How many textures lose what."""

    by_nodes: int = 0
    apart: int = 0
    beside: int = 0
    going_on: int = 0
    smoothed: int = 0


def settle(job: Job) -> None:
    """Puts textures where they lie by the UVs alone, for targets that need it, and says what those cannot hold."""
    target = job.output_format
    images = {material: _images(material) for material in texture_usage.materials(scene.objects())}
    if target in _BAKED and any(node.inputs["Vector"].is_linked for nodes in images.values() for node in nodes):
        _part_meshes()
    users = defaultdict(dict)
    for item in scene.meshes():
        for index, slot in enumerate(item.material_slots):
            if slot.material:
                users[slot.material].setdefault(item.data, set()).add(index)
    rendered = {mesh: _rendered(mesh) for used in users.values() for mesh in used}
    told = _Told()
    for material, meshes in users.items():
        nodes = images[material]
        if not nodes:
            continue
        layouts = {node: _layout(node) for node in nodes}
        for node, layout in layouts.items():
            if layout and all(rendered[mesh] == layout.layer for mesh in meshes):
                layouts[node] = replace(layout, layer="")
        told.by_nodes += sum(layout is None for layout in layouts.values())
        if target in _BAKED and material.is_editable:
            _bake(layouts, meshes, rendered, told)
        if target in _GOING_ON:
            told.smoothed += sum(node.interpolation == "Closest" for node in nodes)
            odd = [node for node in nodes if _goes_on_oddly(node, layouts[node], _GOING_ON[target])]
            told.going_on += len(odd) if odd and any(_leaves_square(mesh) for mesh in meshes) else 0
    _tell(job, told)


def _tell(job: Job, told: _Told) -> None:
    target = job.output_format
    if told.by_nodes:
        job.lose(f"where nodes put {counted(told.by_nodes, 'texture')}: {target} holds only UVs")
    if told.apart:
        job.lose(f"UVs of {counted(told.apart, 'texture')}: {target} holds those of its material's colour alone")
    if told.beside:
        own = "places of their own" if told.beside > 1 else "a place of its own"
        count = counted(told.beside, "texture")
        job.warn(f"{count} came out with {own} beside: not every reader of {target} asks for it")
    if told.going_on:
        job.warn(f"{counted(told.going_on, 'texture')} may repeat otherwise beyond the edges: {target} holds not how")
    if told.smoothed:
        job.warn(f"{counted(told.smoothed, 'texture')} may look smoothed: {target} holds no sharp pixels")


def _part_meshes() -> None:
    """Gives objects of one mesh with different materials a mesh each."""
    first: dict[bpy.types.Mesh, list] = {}
    for item in scene.meshes():
        used = [slot.material for slot in item.material_slots]
        if first.setdefault(item.data, used) != used:
            item.data = item.data.copy()


def _images(material: bpy.types.Material) -> list[bpy.types.ShaderNodeTexImage]:
    """The nodes of images that the surface gets something from, those of its colour first."""
    output = material.node_tree.get_output_node("ALL") if material.node_tree else None
    return texture_usage.image_nodes(output.inputs["Surface"]) if output else []


def _layout(node: bpy.types.ShaderNodeTexImage) -> _Layout | None:
    """Where an image lies; None where it is not by UVs."""
    if node.projection != "FLAT":
        return None
    socket, matrix, mixed = node.inputs["Vector"], np.identity(3), False
    for _ in range(_MOST_STEPS):
        if not socket.is_linked:
            return _made("", matrix, mixed) if socket.node == node else None
        link = socket.links[0]
        source = link.from_node
        if source.type == "UVMAP":
            return _made(source.uv_map, matrix, mixed)
        if source.type == "ATTRIBUTE" and source.attribute_type == "GEOMETRY":
            return _made(source.attribute_name, matrix, mixed)
        if source.type == "GROUP" or (source.type == "TEX_COORD" and link.from_socket.name == "UV"):
            # Groups are those of add-ons that know themselves what becomes of it.
            return _made("", matrix, mixed)
        if source.type == "REROUTE":
            socket = source.inputs[0]
        elif source.type == "MAPPING":
            more = _mapping(source)
            if more is None:
                return None
            socket, matrix = source.inputs["Vector"], matrix @ more
        elif source.type == "COMBXYZ":
            parts = _parted(source)
            if parts is None:
                return None
            socket, mixed = parts.inputs[0], True
        else:
            return None
    return None


def _made(layer: str, matrix: np.ndarray, mixed: bool) -> _Layout:
    return _Layout(layer, tuple(tuple(round(float(value), 6) for value in row) for row in matrix), mixed)


def _mapping(node: bpy.types.ShaderNodeMapping) -> np.ndarray | None:
    """The matrix of a node that moves, turns and scales points in their plane."""
    names = ("Location", "Rotation", "Scale")
    if node.vector_type != "POINT" or any(node.inputs[name].is_linked for name in names):
        return None
    (x, y, _z), (roll, pitch, angle), (width, height, _depth) = (node.inputs[name].default_value for name in names)
    if roll or pitch:
        return None
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.array([[cosine * width, -sine * height, x], [sine * width, cosine * height, y], [0.0, 0.0, 1.0]])


def _parted(node: bpy.types.ShaderNode) -> bpy.types.ShaderNode | None:
    """The node that takes a vector apart which this one puts together, each axis going on in its own way."""
    for socket in node.inputs[:2]:
        source = socket.links[0].from_node if socket.is_linked else None
        if source and source.type == "MATH" and source.operation in {"WRAP", "PINGPONG"}:
            source = source.inputs[0].links[0].from_node if source.inputs[0].is_linked else None
        if source is None or source.type != "SEPXYZ":
            return None
    return source


def _rendered(mesh: bpy.types.Mesh) -> str:
    return next((layer.name for layer in mesh.uv_layers if layer.active_render), "")


def _bake(
    layouts: dict, meshes: dict[bpy.types.Mesh, set[int]], rendered: dict[bpy.types.Mesh, str], told: _Told
) -> None:
    """Makes where the first image lies the place of the material's first UVs."""
    main = next((layout for layout in layouts.values() if layout), None)
    if main is None:
        return
    plain = main.matrix == _Layout().matrix
    for mesh, slots in meshes.items():
        _move(mesh, slots, main, rendered[mesh])
    for node, layout in layouts.items():
        if layout is None:
            continue
        same_layer = layout.layer == main.layer
        if same_layer and plain and layout.matrix != main.matrix:
            # Both formats have a place for it beside the texture.
            told.beside += 1
            continue
        told.apart += (layout.layer, layout.matrix) != (main.layer, main.matrix)
        for link in list(node.inputs["Vector"].links):
            node.id_data.links.remove(link)


def _move(mesh: bpy.types.Mesh, slots: set[int], layout: _Layout, rendered: str) -> None:
    layers = mesh.uv_layers
    used = layers.get(layout.layer) or layers.get(rendered)
    if used is None:
        return
    first, name = layers[0], used.name
    # OBJ's exporter takes the layer that was worked on.
    first.active = True
    plain = layout.matrix == _Layout().matrix
    if first.name == name and plain:
        return
    indices = np.empty(len(mesh.polygons), dtype=np.int32)
    mesh.polygons.foreach_get("material_index", indices)
    counts = np.empty(len(mesh.polygons), dtype=np.int32)
    mesh.polygons.foreach_get("loop_total", counts)
    chosen = np.repeat(np.isin(indices, list(slots)), counts)
    before, there = _uvs(first), _uvs(used)
    placed = there
    if not plain:
        matrix = np.array(layout.matrix)
        placed = there @ matrix[:2, :2].T + matrix[:2, 2]
    # By ``uv``, which is quicker, Blender 5.0 writes into the copies that other meshes share.
    if first.name != name:
        # What was first stays in the file.
        used.data.foreach_set("uv", np.where(chosen[:, None], before, there).astype(np.float32).ravel())
    first.data.foreach_set("uv", np.where(chosen[:, None], placed, before).astype(np.float32).ravel())
    first.active_render = True


def _uvs(layer: bpy.types.MeshUVLoopLayer) -> np.ndarray:
    found = np.empty(len(layer.uv) * 2, dtype=np.float32)
    layer.uv.foreach_get("vector", found)
    return found.reshape(-1, 2)


def _goes_on_oddly(node: bpy.types.ShaderNodeTexImage, layout: _Layout | None, held: set[str]) -> bool:
    return bool(layout) and (layout.mixed or node.extension not in held)


def _leaves_square(mesh: bpy.types.Mesh) -> bool:
    edges = 0.001
    return any(
        len(layer.uv) and ((found := _uvs(layer)).min() < -edges or found.max() > 1 + edges) for layer in mesh.uv_layers
    )
