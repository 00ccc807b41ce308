"""Stereolithography: triangles and nothing else."""

import bpy

from .. import measure
from ..errors import ConversionError
from ..job import Job
from ..operators import exporting, importing


def read(job: Job) -> str:
    """Imports the file."""
    importing(job, bpy.ops.wm.stl_import)
    return "wm.stl_import"


def write(job: Job) -> None:
    """Exports the scene as binary STL."""
    if not measure.has_faces():
        raise ConversionError("empty_model", "the model has no faces, and an stl file holds nothing else")
    exporting(job, bpy.ops.wm.stl_export, check_existing=False, ascii_format=False)
