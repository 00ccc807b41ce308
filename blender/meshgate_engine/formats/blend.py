"""Blender's own file. No code in it runs: no text block, no driver, no handler."""

import bpy

from ..blender_api.operators import exporting, importing
from ..errors import ConversionError
from ..job import Job
from ..materials import texture_files
from . import embedded_scripts, external_files


def read(job: Job) -> str:
    """Opens the file with scripts disabled, and removes references to files outside of the model."""
    importer = importing(job, bpy.ops.wm.open_mainfile, load_ui=False, use_scripts=False)
    if bpy.app.autoexec_fail:
        job.warn("scripts and drivers in the file were not run")
    external_files.remove_outside(job)
    return importer


def write(job: Job) -> None:
    """Saves the scene, compressed, with all textures inside and without code that runs when it is opened."""
    external_files.make_libraries_local()
    embedded_scripts.remove(job)
    for image in bpy.data.images:
        if image.source in {"FILE", "TILED"} and not image.packed_file and not texture_files.is_missing(image):
            _pack(job, image)
        if image.packed_file and not image.filepath_raw.startswith("//"):
            # The result must not contain paths of this machine.
            image.filepath_raw = f"//textures/{texture_files.base_name(image.filepath_raw) or image.name}"
    external_files.report_unpacked(job)
    external_files.make_paths_relative(job)
    exporting(job, bpy.ops.wm.save_as_mainfile, compress=True, copy=True, relative_remap=False)


def _pack(job: Job, image: bpy.types.Image) -> None:
    try:
        image.pack()
    except RuntimeError as error:
        if image.source != "TILED":
            raise ConversionError("export_failed", "a texture could not be packed") from error
        job.lose("tile files", 1, "missing tiles", name=texture_files.name(image))
