"""Alembic: meshes and cameras, sampled frame by frame if anything moves."""

import mmap
import re
from pathlib import Path

import bpy
import numpy as np

from ..animation import bake_caches, clips, mesh_animation
from ..blender_api import arrays
from ..blender_api import scene as model
from ..blender_api.operators import exporting, importing
from ..job import Job


def read(job: Job) -> str:
    # Alembic has seconds, and the importer converts them to frames of the scene.
    model.set_frame_rate(_frames_per_second(Path(job.input)))
    importer = importing(job, bpy.ops.wm.alembic_import, as_background_job=False, validate_meshes=True)
    bake_caches.bake_to_clip()
    return importer


def _frames_per_second(path: Path) -> float:
    """The frame rate in the archive's metadata, which is plain text; 24 without one."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = re.search(rb"(?:FramesPerTimeUnit|DCC_FPS)=(\d{1,3}(?:\.\d{1,6})?)", content)
            return float(found[1]) if found else 24.0
    except (OSError, ValueError):
        return 24.0


def write(job: Job) -> None:
    """Exports the scene: the first clip baked into the meshes, or one frame when nothing moves."""
    scene = bpy.context.scene
    moving = bool(clips.find()) or (job.animation and mesh_animation.has_modifiers())
    _colour_corners()
    exporting(
        job,
        bpy.ops.wm.alembic_export,
        as_background_job=False,
        start=scene.frame_start if moving else scene.frame_current,
        end=scene.frame_end if moving else scene.frame_current,
        vcolors=True,
        uvs=True,
        normals=True,
        triangulate=job.triangulate,
        evaluation_mode="VIEWPORT",
    )


def _colour_corners() -> None:
    """Converts all vertex colours to bytes on corners, the only ones that the exporter writes."""
    for mesh in {item.data for item in model.meshes()}:
        layers = [(layer.name, layer.domain, layer.data_type) for layer in mesh.color_attributes]
        # By name, since removing a layer invalidates the others.
        for name in [name for name, *kind in layers if kind != ["CORNER", "BYTE_COLOR"]]:
            layer = mesh.color_attributes[name]
            colours = arrays.get(layer.data, "color", 4)
            if layer.domain == "POINT":
                colours = colours[arrays.get(mesh.loops, "vertex_index", dtype=np.int32)]
            mesh.color_attributes.remove(layer)
            made = mesh.color_attributes.new(name, "BYTE_COLOR", "CORNER")
            arrays.put(made.data, "color", colours)
