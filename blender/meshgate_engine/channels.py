"""Channels of images as images of their own, for formats whose values are whole images."""

import bpy
import numpy as np

from . import textures

# More pixels than these take more memory than a texture is worth.
_MOST_PIXELS = 8192 * 4096

_NAMES = ("red", "green", "blue", "alpha")


class Channels:
    """The images made so far: ``made`` says of each which one it is a part of."""

    def __init__(self) -> None:
        self.made: dict[bpy.types.Image, bpy.types.Image] = {}
        self._known: dict[tuple, bpy.types.Image] = {}

    def image(
        self, image: bpy.types.Image, channel: int | None, factor: float = 1.0, name: str = ""
    ) -> bpy.types.Image | None:
        """A grey image of one channel, or of an image's brightness, times a factor; None when it cannot be made."""
        key = image, channel, round(factor, 6)
        if key not in self._known:
            width, height = image.size
            if not 0 < width * height <= _MOST_PIXELS:
                return None
            self._known[key] = self._make(image, channel, factor, name or _NAMES[channel or 0])
        return self._known[key]

    def _make(self, image: bpy.types.Image, channel: int | None, factor: float, name: str) -> bpy.types.Image:
        width, height = image.size
        pixels = np.empty(width * height * 4, dtype=np.float32)
        image.pixels.foreach_get(pixels)
        pixels = pixels.reshape(-1, 4)
        grey = pixels[:, :3] @ np.float32([0.2126, 0.7152, 0.0722]) if channel is None else pixels[:, channel].copy()
        pixels[:, :3], pixels[:, 3] = (grey * np.float32(factor))[:, None], 1.0
        stem = textures.name(image).rpartition(".")[0] or image.name
        made = bpy.data.images.new(f"{stem}_{name}", width, height, is_data=True)
        made.filepath_raw = f"//{stem}_{name}.png"
        made.file_format = "PNG"
        made.pixels.foreach_set(pixels.ravel())
        made.pack()
        self.made[made] = image
        return made
