"""Blender's collections as arrays: one call for all elements instead of one for each."""

import numpy as np
from bpy.types import Image, bpy_prop_collection


def get(elements: bpy_prop_collection, attribute: str, width: int = 1, dtype: type = np.float32) -> np.ndarray:
    """An attribute of every element: shape (n,), or (n, width) where it has several values."""
    values = np.empty(len(elements) * width, dtype=dtype)
    elements.foreach_get(attribute, values)
    return values.reshape(-1, width) if width > 1 else values


def put(elements: bpy_prop_collection, attribute: str, values: np.ndarray) -> None:
    """Sets an attribute of every element; integers as int32, all else as float32."""
    dtype = np.int32 if np.issubdtype(values.dtype, np.integer) else np.float32
    elements.foreach_set(attribute, np.ascontiguousarray(values, dtype=dtype).ravel())


def pixels(image: Image) -> np.ndarray:
    """The pixels of an image: shape (n, 4), red, green, blue, alpha."""
    values = np.empty(image.size[0] * image.size[1] * 4, dtype=np.float32)
    image.pixels.foreach_get(values)
    return values.reshape(-1, 4)
