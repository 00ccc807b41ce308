"""Blender's own file. Nothing in it may run: no text block, no driver, no handler."""

from pathlib import Path

import bpy

from .. import scene, textures
from ..errors import ConversionError
from ..job import Job
from ..operators import exporting, importing


def read(job: Job) -> str:
    """Opens the file with scripts disabled."""
    importing(job, bpy.ops.wm.open_mainfile, load_ui=False, use_scripts=False)
    for library in bpy.data.libraries:
        job.warn(f"a linked library was not opened: {textures.base_name(library.filepath)}")
    others = len(bpy.data.scenes) - 1
    if others:
        job.lose(f"{others} other scene{'s' if others > 1 else ''}: only the active one is converted")
    scene.leave_out_hidden(job)
    return "wm.open_mainfile"


def write(job: Job) -> None:
    """Saves the scene, compressed, with all textures inside."""
    for image in bpy.data.images:
        if image.source == "FILE" and not image.packed_file and Path(bpy.path.abspath(image.filepath_raw)).is_file():
            try:
                image.pack()
            except RuntimeError as error:
                raise ConversionError("export_failed", "a texture could not be packed") from error
    exporting(job, bpy.ops.wm.save_as_mainfile, check_existing=False, compress=True, copy=True, relative_remap=False)
