"""Splits UDIM textures, whose tiles each cover one unit of the UVs: only USD and .blend hold them."""

import functools
from pathlib import Path

import bpy
import numpy as np

from ..blender_api import arrays, scene
from ..job import Job, counted
from . import texture_files, texture_usage

_FIRST = 1001  # the tile at the UVs from 0 to 1


def split_tiles(job: Job) -> None:
    """Makes each tile an image with a material for its faces, if the target holds no tiles."""
    if not job.target.materials or job.target.tiles:
        return
    tiled = _tiled_images()
    if not tiled:
        return
    tiles = _Tiles(job)
    for mesh in {item.data for item in scene.meshes()}:
        for index, material in enumerate(list(mesh.materials)):
            if material and material.is_editable and any(_tiled(node) for node in _nodes(material)):
                tiles.split(mesh, index, material)
    # The others are in node groups, or belong to no mesh.
    left = _tiled_images()
    for image in left:
        if first := tiles.image(image, _FIRST):
            image.user_remap(first)
    job.lose("tiles", len(left), "no tiles")
    if len(left) < len(tiled):
        count = counted(len(tiled), "texture")
        job.warn(f"the tiles of {count} became textures, with a material each: {job.output_format} holds no tiles")


def _tiled_images() -> set[bpy.types.Image]:
    return {image for image in texture_usage.scene_images() if image.source == "TILED"}


def _nodes(material: bpy.types.Material) -> list[bpy.types.ShaderNode]:
    return list(material.node_tree.nodes) if material.node_tree else []


def _tiled(node: bpy.types.ShaderNode) -> bool:
    return node.type == "TEX_IMAGE" and bool(node.image) and node.image.source == "TILED"


class _Tiles:
    """Makes materials and images of tiles, and remembers them."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.image = functools.cache(self._load)
        self._material = functools.cache(self._copy)

    def split(self, mesh: bpy.types.Mesh, index: int, material: bpy.types.Material) -> None:
        """Gives the faces of a material the material of their tile."""
        indices = arrays.get(mesh.polygons, "material_index", dtype=np.int32)
        numbers = _tile_numbers(mesh)
        places = indices == index
        first, *others = np.unique(numbers[places]) if places.any() else [_FIRST]
        mesh.materials[index] = self._material(material, int(first))
        for number in others:
            indices[places & (numbers == number)] = len(mesh.materials)
            mesh.materials.append(self._material(material, int(number)))
        arrays.put(mesh.polygons, "material_index", indices)
        mesh.update()

    def _copy(self, material: bpy.types.Material, number: int) -> bpy.types.Material:
        made = material.copy()
        made.name = f"{material.name}.{number}"
        for node in [node for node in _nodes(made) if _tiled(node)]:
            image = self.image(node.image, number)
            if image is None:
                made.node_tree.nodes.remove(node)
            else:
                # The UVs keep their whole numbers, so the image has to repeat.
                node.image, node.extension = image, "REPEAT"
        return made

    def _load(self, tiled: bpy.types.Image, number: int) -> bpy.types.Image | None:
        """The image of a tile; None when its file is missing."""
        path = texture_files.tile_path(tiled.filepath_raw, number)
        name = texture_files.base_name(path)
        content = next((each.packed_file.data for each in tiled.packed_files if each.tile_number == number), None)
        if content is None and texture_files.is_within(path):
            content = Path(bpy.path.abspath(path)).read_bytes()
        if content is None:
            if any(tile.number == number for tile in tiled.tiles):
                self.job.warn(f"a texture was not found: {name}")
            return None
        image = bpy.data.images.new(name, 1, 1)
        image.pack(data=content, data_len=len(content))
        image.source, image.filepath_raw = "FILE", f"//{name}"
        texture_files.copy_settings(image, tiled)
        return image


def _tile_numbers(mesh: bpy.types.Mesh) -> np.ndarray:
    """The tile of each face, by the middle of its UVs: shape (faces,)."""
    layer = next((each for each in mesh.uv_layers if each.active_render), None)
    if layer is None:
        return np.full(len(mesh.polygons), _FIRST)
    points = arrays.get(layer.uv, "vector", 2)
    starts = arrays.get(mesh.polygons, "loop_start", dtype=np.int32)
    counts = arrays.get(mesh.polygons, "loop_total", dtype=np.int32)
    middles = np.add.reduceat(points.astype(np.float64), starts) / counts[:, None]
    across, up = np.floor(np.nan_to_num(middles)).T
    outside = (across < 0) | (across > 9) | (up < 0) | (up > 99)
    return np.where(outside, _FIRST, _FIRST + across + 10 * up).astype(np.int32)
