"""Wavefront OBJ, with its materials and textures in files beside it."""

import bpy

from ..job import Job
from ..operators import exporting, importing


def read(job: Job) -> str:
    """Imports the file."""
    importing(job, bpy.ops.wm.obj_import, validate_meshes=True)
    return "wm.obj_import"


def write(job: Job) -> None:
    """Exports the scene; packaging ``single`` leaves out the materials, which are a second file."""
    exporting(
        job,
        bpy.ops.wm.obj_export,
        check_existing=False,
        export_materials=job.packaging != "single",
        export_pbr_extensions=True,
        export_colors=True,
        export_triangulated_mesh=job.triangulate,
        path_mode="COPY",
    )
