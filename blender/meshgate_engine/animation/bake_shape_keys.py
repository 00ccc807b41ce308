"""Bakes blend shapes that drivers set: each exporter evaluates other drivers, and none all of them."""

import bpy
import numpy as np

from ..blender_api import scene


def driven() -> dict[bpy.types.Key, list[bpy.types.ShapeKey]]:
    """The blend shapes with drivers, of visible meshes, by their shape keys."""
    found = {item.data.shape_keys for item in scene.meshes() if item.data.shape_keys and item.visible_get()}
    shapes = {key: [block for block in key.key_blocks if _drivers(key, block)] for key in found}
    return {key: blocks for key, blocks in shapes.items() if blocks}


def record(shown: bpy.types.Key, blocks: list[bpy.types.ShapeKey], poses: dict, number: int) -> None:
    """Adds the evaluated values to the rows of the blend shapes."""
    for block in blocks:
        poses[block][number] = np.float32(shown.key_blocks[block.name].value)


def remove_drivers(key: bpy.types.Key, blocks: list[bpy.types.ShapeKey]) -> None:
    """Removes the drivers of the blend shapes."""
    for block in blocks:
        for curve in _drivers(key, block):
            key.animation_data.drivers.remove(curve)


def _drivers(key: bpy.types.Key, block: bpy.types.ShapeKey) -> list[bpy.types.FCurve]:
    path = f"{block.path_from_id()}.value"
    return [curve for curve in key.animation_data.drivers if curve.data_path == path] if key.animation_data else []
