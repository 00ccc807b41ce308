"""Blender's own file. Nothing in it may run: no text block, no driver, no handler."""

import bpy

from .. import realise, scene, shifting, steering, textures
from ..errors import ConversionError
from ..job import Job
from ..operators import exporting, importing


def read(job: Job) -> str:
    """Opens the file with scripts disabled."""
    importing(job, bpy.ops.wm.open_mainfile, load_ui=False, use_scripts=False)
    if bpy.app.autoexec_fail:
        job.warn("scripts and drivers in the file were not run")
    _drop_outside(job)
    scene.tell_others(job)
    if job.output_format != "blend":
        shifting.tell(job)
        steering.make_keys(job)
        # First: what is instanced is hidden often.
        realise.make_real(job)
        scene.leave_out_hidden(job)
    return "wm.open_mainfile"


def _drop_outside(job: Job) -> None:
    """Removes what the file takes from elsewhere: nothing of this machine may get into the result."""
    for library in list(bpy.data.libraries):
        if not textures.is_within(library.filepath):
            job.warn(f"a linked library was not opened: {textures.base_name(library.filepath)}")
            bpy.data.libraries.remove(library)
    for blocks in (bpy.data.cache_files, bpy.data.volumes, bpy.data.sounds, bpy.data.movieclips, bpy.data.fonts):
        for block in list(blocks):
            packed = getattr(block, "packed_file", None)
            if block.filepath not in {"", "<builtin>"} and not packed and not textures.is_within(block.filepath):
                job.warn(f"a file was not found: {textures.base_name(block.filepath)}")
                blocks.remove(block)


def write(job: Job) -> None:
    """Saves the scene, compressed, with all textures inside."""
    for image in bpy.data.images:
        if image.source == "FILE" and not image.packed_file and textures.is_within(image.filepath_raw):
            try:
                image.pack()
            except RuntimeError as error:
                raise ConversionError("export_failed", "a texture could not be packed") from error
        if image.packed_file and not image.filepath_raw.startswith("//"):
            # Where the file lay on this machine is nobody's business.
            image.filepath_raw = f"//textures/{textures.base_name(image.filepath_raw) or image.name}"
    exporting(job, bpy.ops.wm.save_as_mainfile, check_existing=False, compress=True, copy=True, relative_remap=False)
