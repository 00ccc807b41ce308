"""Universal Scene Description: text, binary and package."""

import sys
import tempfile
from pathlib import Path
from types import ModuleType

import bpy

from ..animation import bake_caches, clips, mesh_animation
from ..blender_api import scene
from ..blender_api.operators import exporting, importing
from ..job import Job
from ..materials import texture_usage

_WHITE = 6500.0  # kelvin: white in USD, almost white in Blender
# The attributes of a SkelAnimation.
_ANIMATED = {"translations", "rotations", "scales", "blendShapeWeights"}


def read(job: Job) -> str:
    importer = importing(
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
    if bake_caches.has_motion() or bake_caches.has_cached_meshes():
        scene.set_frame_rate(_frames_per_second(job.input))
    bake_caches.bake_to_clip()
    return importer


def _frames_per_second(path: str) -> float:
    """The file's time codes per second, as the importer takes time codes for frames; 24 without any."""
    pxr = _load_pxr()
    try:
        return pxr.Sdf.Layer.OpenAsAnonymous(path, metadataOnly=True).timeCodesPerSecond
    except (pxr.Tf.ErrorException, AttributeError):
        return 24.0


def _load_pxr() -> ModuleType:
    """Loads USD's library when it is needed, since loading it takes longer than importing most files."""
    folder = str(Path(bpy.utils.resource_path("LOCAL"), "python/lib/python3.11/site-packages"))
    if folder not in sys.path:
        sys.path.append(folder)
    import pxr
    from pxr import Sdf, Tf  # noqa: F401

    return pxr


def write(job: Job) -> None:
    """Exports the scene in metres, y up, with the clip that is assigned."""
    found = clips.find()
    # Blender's exporter, in C++, writes unused colour temperatures as if they were used. No upstream issue known.
    # Blender 5.0.1; it can go when the exporter does not.
    for item in scene.objects():
        if item.type == "LIGHT" and not item.data.use_temperature:
            item.data.temperature = _WHITE
    # The exporter writes "Non-Color" as ``raw``, but nothing for this name, and readers would assume sRGB.
    for image in texture_usage.scene_images():
        if image.source == "FILE" and image.colorspace_settings.name == "Linear Rec.709":
            image.colorspace_settings.name = "Non-Color"
    exporting(
        job,
        bpy.ops.wm.usd_export,
        export_animation=job.animation and (bool(found) or mesh_animation.has_modifiers()),
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
    parts = [(clip.action, slot) for clip in found if clips.is_assigned(clip) for _owner, slot in clip.parts]
    if job.animation and not all(clips.changed_paths(action, slot) for action, slot in parts):
        _repeat_poses(Path(job.output))


def _repeat_poses(path: Path) -> None:
    """Repeats poses that do not change at the clip's end: readers take a single value, as exported, for no clip."""
    pxr = _load_pxr()
    if path.suffix != ".usdz":
        _repeat_in_layer(pxr, path)
        return
    package = pxr.Sdf.ZipFile.Open(str(path))
    made = path.with_name("held.usdz")
    writer = pxr.Sdf.ZipFileWriter.CreateNew(str(made))
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for number, name in enumerate(package.GetFileNames()):
            file = Path(folder, f"{number}{Path(name).suffix}")
            file.write_bytes(package.GetFile(name))
            if number == 0:
                # The first file of a usdz is the model.
                _repeat_in_layer(pxr, file)
            writer.AddFile(str(file), name)
    writer.Save()
    made.replace(path)


def _repeat_in_layer(pxr: ModuleType, path: Path) -> None:
    layer = pxr.Sdf.Layer.FindOrOpen(str(path))
    paths = []
    layer.Traverse("/", paths.append)
    for place in paths:
        if not place.IsPrimPropertyPath() or layer.GetPrimAtPath(place.GetPrimPath()).typeName != "SkelAnimation":
            continue
        value = layer.GetAttributeAtPath(place).default
        if place.name in _ANIMATED and value is not None and not layer.GetNumTimeSamplesForPath(place):
            for time in (layer.startTimeCode, layer.endTimeCode):
                layer.SetTimeSample(place, time, value)
    layer.Save()
