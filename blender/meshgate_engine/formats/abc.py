"""Alembic: meshes and cameras, baked frame by frame where something moves."""

import bpy

from .. import caches, clips
from ..job import Job
from ..operators import exporting, importing


def read(job: Job) -> str:
    """Imports the file."""
    importing(job, bpy.ops.wm.alembic_import, as_background_job=False, validate_meshes=True)
    caches.make_clip("Animation")
    return "wm.alembic_import"


def write(job: Job) -> None:
    """Exports the scene: the first clip baked into the meshes, or one frame when nothing moves."""
    scene = bpy.context.scene
    moving = bool(clips.takes(scene))
    exporting(
        job,
        bpy.ops.wm.alembic_export,
        check_existing=False,
        as_background_job=False,
        start=scene.frame_start if moving else scene.frame_current,
        end=scene.frame_end if moving else scene.frame_current,
        vcolors=True,
        uvs=True,
        normals=True,
        triangulate=job.triangulate,
        evaluation_mode="VIEWPORT",
    )
