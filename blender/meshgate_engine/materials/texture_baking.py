"""Makes images from channels and factors of others, for formats that use only whole images as they are."""

from collections.abc import Callable

import bpy
import numpy as np
from bpy.types import Image

from ..blender_api import arrays
from . import texture_files

# Larger images are left as they are: their pixels take too much memory.
_MOST_PIXELS = 8192 * 4096
_CHANNELS = ("red", "green", "blue", "alpha")


class BakedImages:
    """The images made so far; ``made`` maps each to its source."""

    def __init__(self) -> None:
        self.made: dict[Image, Image] = {}
        self._cache: dict[tuple, Image] = {}

    def channel(self, image: Image, channel: int | None, factor: float = 1.0, name: str = "") -> Image | None:
        """A grey image of one channel, or of the brightness, times a factor; None when the image is too large."""

        def change(pixels: np.ndarray) -> None:
            brightness = np.float32([0.2126, 0.7152, 0.0722])
            grey = pixels[:, :3] @ brightness if channel is None else pixels[:, channel]
            pixels[:, :3], pixels[:, 3] = (grey * np.float32(factor))[:, None], 1.0

        made = self._bake(image, (channel, round(factor, 6)), name or _CHANNELS[channel or 0], change)
        if made:
            made.colorspace_settings.name = "Non-Color"
        return made

    def with_alpha_factor(self, image: Image, factor: float) -> Image | None:
        """The image with its alpha times a factor; None when it is too large."""

        def change(pixels: np.ndarray) -> None:
            pixels[:, 3] *= np.float32(factor)

        return self._bake(image, ("alpha", round(factor, 6)), "alpha", change)

    def with_normal_strength(self, image: Image, strength: float) -> Image | None:
        """A normal map with a strength applied; None when it is too large."""

        def change(pixels: np.ndarray) -> None:
            normals = (pixels[:, :3] * 2 - 1) * np.float32([strength, strength, 1])
            lengths = np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.float32(1e-6))
            pixels[:, :3] = (normals / lengths + 1) / 2

        return self._bake(image, ("normal", round(strength, 6)), "normal", change)

    def _bake(self, image: Image, key: tuple, name: str, change: Callable[[np.ndarray], None]) -> Image | None:
        if (image, *key) in self._cache:
            return self._cache[image, *key]
        width, height = image.size
        if not 0 < width * height <= _MOST_PIXELS:
            return None
        pixels = arrays.pixels(image)
        change(pixels)
        stem = texture_files.name(image).rpartition(".")[0] or image.name
        made = bpy.data.images.new(f"{stem}_{name}", width, height, alpha=True)
        texture_files.copy_settings(made, image)
        made.filepath_raw = f"//{stem}_{name}.png"
        made.file_format = "PNG"
        made.pixels.foreach_set(pixels.ravel())
        made.pack()
        self.made[made] = image
        self._cache[image, *key] = made
        return made
