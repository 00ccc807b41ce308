"""Stereolithography: triangles and nothing else."""

from pathlib import Path

import bpy

from ..blender_api.operators import exporting, importing
from ..errors import ConversionError
from ..geometry import triangles
from ..job import Job


def read(job: Job) -> str:
    # The importer refuses empty text files as unreadable, and makes an empty object of binary ones.
    before = _triangles(Path(job.input).read_bytes())
    importer = importing(job, bpy.ops.wm.stl_import)
    after = sum(len(mesh.polygons) for mesh in bpy.data.meshes)
    if after < before:
        job.warn(f"{before - after} of {before} triangles were skipped: zero area or duplicate")
    return importer


def _triangles(content: bytes) -> int:
    """The number of triangles in a file. Raises ``empty_model`` without any."""
    text = content.lower() if content.lstrip()[:5].lower() == b"solid" else b""
    if b"endsolid" in text:
        count, empty = text.count(b"endfacet"), b"facet" not in text
    else:
        # A binary file may be cut off.
        count = min(int.from_bytes(content[80:84], "little"), (len(content) - 84) // 50)
        empty = len(content) == 84 and content[80:] == bytes(4)
    if empty:
        raise ConversionError("empty_model", "the model has no triangles")
    return count


def write(job: Job) -> None:
    """Exports the scene as binary STL."""
    if not triangles.has_more_than(0):
        raise ConversionError("empty_model", "the model has no faces, and an stl file holds nothing else")
    exporting(job, bpy.ops.wm.stl_export, ascii_format=False)
