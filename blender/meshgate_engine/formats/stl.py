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
    if _is_empty(Path(job.input).read_bytes()):
        raise ConversionError("empty_model", "the model has no triangles")
    importing(job, bpy.ops.wm.stl_import)
    return "wm.stl_import"


def _is_empty(content: bytes) -> bool:
    if content.lstrip()[:5].lower() == b"solid" and b"endsolid" in content.lower():
        return b"facet" not in content.lower()
    # After the heading of a binary file, how many triangles follow.
    return content[80:] == bytes(4)


def write(job: Job) -> None:
    """Exports the scene as binary STL."""
    if not measure.has_faces():
        raise ConversionError("empty_model", "the model has no faces, and an stl file holds nothing else")
    exporting(job, bpy.ops.wm.stl_export, check_existing=False, ascii_format=False)
