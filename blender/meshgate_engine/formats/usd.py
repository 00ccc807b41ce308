"""Universal Scene Description: text, binary and package."""

import sys
from pathlib import Path

import bpy

from .. import caches, clips, scene
from ..job import Job
from ..operators import exporting, importing

# Kelvin; USD's white, while Blender's is a shade off.
_WHITE = 6500.0


def read(job: Job) -> str:
    """Imports the file."""
    importing(
        job,
        bpy.ops.wm.usd_import,
        set_frame_range=True,
        import_textures_mode="IMPORT_PACK",
        apply_unit_conversion_scale=True,
        validate_meshes=True,
    )
    for item in scene.objects():
        if item.type == "LIGHT" and abs(item.data.temperature - _WHITE) < 1.0:
            item.data.use_temperature = False
    if caches.moves():
        caches.set_fps(_frames_per_second(job.input))
        caches.make_clip("Animation")
    return "wm.usd_import"


def _frames_per_second(path: str) -> float:
    """What the file says of its time codes, which the importer takes for frames; 24 where it says nothing."""
    folder = str(Path(bpy.utils.resource_path("LOCAL"), "python/lib/python3.11/site-packages"))
    if folder not in sys.path:
        sys.path.append(folder)
    # Importing it takes longer than most imports: only for files in which something moves.
    from pxr import Sdf, Tf

    try:
        return Sdf.Layer.OpenAsAnonymous(path, metadataOnly=True).timeCodesPerSecond
    except (Tf.ErrorException, AttributeError):
        return 24.0


def write(job: Job) -> None:
    """Exports the scene in metres, y up, with the clip that is assigned."""
    moving = bool(clips.takes(bpy.context.scene)) or caches.changing()
    _whiten_lights()
    exporting(
        job,
        bpy.ops.wm.usd_export,
        check_existing=False,
        export_animation=job.animation and moving,
        export_armatures=True,
        export_shapekeys=True,
        export_textures_mode="NEW",
        overwrite_textures=True,
        relative_paths=True,
        generate_preview_surface=True,
        convert_orientation=True,
        export_global_forward_selection="NEGATIVE_Z",
        export_global_up_selection="Y",
        convert_scene_units="METERS",
        root_prim_path="/root",
        convert_world_material=False,
        triangulate_meshes=job.triangulate,
        evaluation_mode="VIEWPORT",
    )


def _whiten_lights() -> None:
    """Blender 5.0 writes colour temperatures as if all were switched on: those that are off become white's."""
    for item in scene.objects():
        if item.type == "LIGHT" and not item.data.use_temperature:
            item.data.temperature = _WHITE
