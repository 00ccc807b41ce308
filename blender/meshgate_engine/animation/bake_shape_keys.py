"""Bakes blend shapes that drivers set: no exporter evaluates all drivers."""

import bpy
import numpy as np

from ..blender_api import actions, scene
from . import keyframes


class BakedShapeKey(keyframes.Baked):
    """A blend shape with a key for each frame; a row has its value alone."""

    properties = (("value", 1),)
    rest = np.zeros(1, dtype=np.float32)

    def set(self, row: np.ndarray) -> None:
        self.thing.value = row[0]

    def row(self, evaluated: bpy.types.Key, _before: np.ndarray | None) -> tuple[float]:
        return (evaluated.key_blocks[self.thing.name].value,)

    @staticmethod
    def has_own_motion(_key: bpy.types.Key) -> bool:
        """Whether values change without any action; a driver may change them."""
        return True

    @staticmethod
    def remove_constraints_and_drivers(key: bpy.types.Key) -> None:
        """Removes the drivers of the values of blend shapes."""
        for block in key.key_blocks:
            for curve in _drivers(block):
                key.animation_data.drivers.remove(curve)


def find() -> dict[bpy.types.Key, list[BakedShapeKey]]:
    """The blend shapes with drivers, of visible meshes, by their shape keys."""
    keys = {item.data.shape_keys for item in scene.meshes() if item.data.shape_keys and item.visible_get()}
    return {key: [BakedShapeKey(block) for block in key.key_blocks if _drivers(block)] for key in keys}


def _drivers(block: bpy.types.ShapeKey) -> list[bpy.types.FCurve]:
    path = f"{block.path_from_id()}.value"
    return [curve for curve in actions.drivers(block.id_data) if curve.data_path == path]
