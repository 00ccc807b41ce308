"""File formats of images: recognizes them, and converts images to those that USDZ allows."""

from pathlib import Path

import bpy
import numpy as np

from ..blender_api import arrays

EXTENSIONS = {"png", "jpg", "jpeg", "webp", "tga", "bmp", "tif", "tiff", "exr", "hdr", "dds", "jp2", "psd", "gif"}
# The first bytes of a file -> extension.
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg", b"RIFF": "webp", b"BM": "bmp", b"II*": "tif", b"DDS": "dds",
    b"v/1\x01": "exr",
}  # fmt: skip


def extension(content: bytes) -> str | None:
    """The extension of a file of a known format; None for any other."""
    return next((found for start, found in _MAGIC.items() if content.startswith(start)), None)


def allowed_extension(content: bytes, allowed: frozenset[str]) -> str | None:
    """The extension of a file if it is one of ``allowed``; None for any other file."""
    found = "avif" if content[4:12] in {b"ftypavif", b"ftypavis"} else extension(content)
    return found if found in allowed else None


def png_or_exr(image: bpy.types.Image, content: bytes) -> tuple[bytes, str] | None:
    """The image as PNG, or as EXR where PNG cannot hold it, and the extension; None without pixels."""
    width, height = image.size
    if width * height == 0:
        return None
    # Radiance HDR; other images that Blender holds as floats have at most 16 bits a channel, which PNG holds.
    wide = content.startswith(b"#?")
    pixels = arrays.pixels(image)
    if image.is_float and not wide and image.colorspace_settings.name == "sRGB":
        # Blender's floats are linear, a PNG's values are sRGB.
        linear = np.clip(pixels[:, :3], 0.0, 1.0)
        pixels[:, :3] = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    made = bpy.data.images.new("made", width, height, alpha=True, float_buffer=wide, is_data=wide)
    try:
        made.pixels.foreach_set(pixels.ravel())
        file = Path("tmp/made").absolute()
        file.parent.mkdir(parents=True, exist_ok=True)
        made.file_format = "OPEN_EXR" if wide else "PNG"
        made.filepath_raw = str(file)
        made.save()
        return file.read_bytes(), "exr" if wide else "png"
    finally:
        bpy.data.images.remove(made)
