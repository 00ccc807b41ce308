"""Stanford PLY: one mesh, or points, with colours."""

import re
from pathlib import Path

import bpy

from ..errors import ConversionError
from ..job import Job
from ..operators import exporting, importing


def read(job: Job) -> str:
    """Imports the file."""
    try:
        importing(job, bpy.ops.wm.ply_import, import_colors="SRGB")
    except ConversionError as error:
        head, _, _ = Path(job.input).read_bytes().partition(b"end_header")
        if re.search(rb"^element\s+vertex\s+0+\s*$", head, re.MULTILINE):
            raise ConversionError("empty_model", "the model has no vertices") from error
        raise
    return "wm.ply_import"


def write(job: Job) -> None:
    """Exports the scene as binary PLY."""
    exporting(
        job,
        bpy.ops.wm.ply_export,
        check_existing=False,
        ascii_format=False,
        export_uv=True,
        export_normals=True,
        export_colors="SRGB",
        # With other attributes the exporter writes past its buffers when the meshes' vertex groups differ.
        export_attributes=False,
        export_triangulated_mesh=job.triangulate,
    )
