"""Blend shapes that drivers set: exporters look at some of these drivers, and each at others."""

import bpy
import numpy as np

from ..blender_api import scene


def driven() -> dict[bpy.types.Key, list[bpy.types.ShapeKey]]:
    """The blend shapes in the scene that drivers set."""
    found = {item.data.shape_keys for item in scene.meshes() if item.data.shape_keys and item.visible_get()}
    shapes = {key: [block for block in key.key_blocks if _drivers(key, block)] for key in found}
    return {key: blocks for key, blocks in shapes.items() if blocks}


def record(shown: bpy.types.Key, blocks: list[bpy.types.ShapeKey], poses: dict, number: int) -> None:
    """Adds the values that are shown to the rows of the shapes."""
    for block in blocks:
        poses[block][number] = np.float32(shown.key_blocks[block.name].value)


def remove_drivers(key: bpy.types.Key, blocks: list[bpy.types.ShapeKey]) -> None:
    """Takes away what sets the shapes besides clips."""
    for block in blocks:
        for curve in _drivers(key, block):
            key.animation_data.drivers.remove(curve)


def _drivers(key: bpy.types.Key, block: bpy.types.ShapeKey) -> list[bpy.types.FCurve]:
    path = f"{block.path_from_id()}.value"
    return [curve for curve in key.animation_data.drivers if curve.data_path == path] if key.animation_data else []
