"""Stereolithography: triangles and nothing else."""

from pathlib import Path

import bpy

from .. import measure
from ..errors import ConversionError
from ..job import Job
from ..operators import exporting, importing


def read(job: Job) -> str:
    """Imports the file."""
    # Of one in text it would say that it cannot be read, of a binary one make an object without anything.
    content = Path(job.input).read_bytes()
    if _is_empty(content):
        raise ConversionError("empty_model", "the model has no triangles")
    importing(job, bpy.ops.wm.stl_import)
    before, after = _triangles(content), sum(len(mesh.polygons) for mesh in bpy.data.meshes)
    if after < before:
        job.warn(f"{before - after} of {before} triangles were not read: they have no area, or lie on another")
    return "wm.stl_import"


def _is_text(content: bytes) -> bool:
    return content.lstrip()[:5].lower() == b"solid" and b"endsolid" in content.lower()


def _is_empty(content: bytes) -> bool:
    if _is_text(content):
        return b"facet" not in content.lower()
    # After the heading of a binary file, how many triangles follow.
    return content[80:] == bytes(4)


def _triangles(content: bytes) -> int:
    if _is_text(content):
        return content.lower().count(b"endfacet")
    return min(int.from_bytes(content[80:84], "little"), (len(content) - 84) // 50)


def write(job: Job) -> None:
    """Exports the scene as binary STL."""
    if not measure.has_faces():
        raise ConversionError("empty_model", "the model has no faces, and an stl file holds nothing else")
    exporting(job, bpy.ops.wm.stl_export, check_existing=False, ascii_format=False)
