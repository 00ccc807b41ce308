"""Autodesk FBX. The usual importer is Blender's in C++; the other one is the older add-on in Python."""

import contextlib
import re
from pathlib import Path

import bpy
from io_scene_fbx import export_fbx_bin

from ..animation import clip_playback, clips
from ..blender_api.addon_patches import patched
from ..blender_api.operators import exporting, importing
from ..errors import ConversionError
from ..job import Job
from ..materials import texture_files


def read(job: Job) -> str:
    version = _version(Path(job.input))
    if version < 3000:
        raise ConversionError("import_failed", f"the file is FBX {version / 1000:g}; 3.0 and newer can be read")
    if job.fallback_importer:
        with _cast_shadow_restored():
            importer = importing(job, bpy.ops.import_scene.fbx, use_image_search=False)
    else:
        importer = importing(job, bpy.ops.wm.fbx_import)
    clips.strip_object_names()
    return importer


def _cast_shadow_restored() -> contextlib.AbstractContextManager[None]:
    """Adds the property of lights that Blender 5.0 removed, without which the Python importer fails on every light.

    Cause: ``blen_read_light`` of ``io_scene_fbx/import_fbx.py`` sets ``cycles.cast_shadow``. No upstream issue known.
    Blender 5.0.1; it can go when the add-on no longer sets the property.
    """
    try:
        from cycles.properties import CyclesLightSettings
    except ImportError:
        # Without Cycles the importer does not set it.
        return contextlib.nullcontext()
    if "cast_shadow" in CyclesLightSettings.bl_rna.properties:
        return contextlib.nullcontext()
    return patched(CyclesLightSettings, cast_shadow=bpy.props.BoolProperty())


def _version(path: Path) -> int:
    """The file's version, 7400 for FBX 7.4, which is also assumed without one."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(b"Kaydara FBX Binary") and len(head) >= 27:
        return int.from_bytes(head[23:27], "little")
    found = re.search(rb"FBXVersion:\s*(\d{4})\b", head)
    return int(found[1]) if found else 7400


def write(job: Job) -> None:
    """Exports the scene in centimetres, y up, textures inside, one take for each clip."""
    with patched(export_fbx_bin, fbx_animations=_write_clips, _gen_vid_path=_texture_names):
        exporting(
            job,
            bpy.ops.export_scene.fbx,
            # Otherwise every round trip adds a bone at each end of a skeleton.
            add_leaf_bones=False,
            path_mode="COPY",
            embed_textures=True,
            use_triangles=job.triangulate,
            use_custom_props=True,
            bake_anim=job.animation,
            # "Simplify" drops keys, which changes the motion.
            bake_anim_simplify_factor=0.0,
        )


def _texture_names(image: bpy.types.Image, _scene_data: tuple) -> tuple[str, str]:
    """The absolute and the relative path of an embedded texture, both without a folder.

    Cause: ``_gen_vid_path`` of ``io_scene_fbx/export_fbx_bin.py`` returns absolute paths, also for textures that are
    embedded. No upstream issue known. Blender 5.0.1; it can go when the add-on can embed textures without paths.
    """
    name = texture_files.base_name(image.filepath) or image.name
    return name, name


def _write_clips(scene_data: tuple) -> tuple[list, set, float, float]:
    """Makes one take of each clip, of the same name; returns what ``fbx_animations`` does, times in frames.

    Cause: ``fbx_animations`` of ``io_scene_fbx/export_fbx_bin.py`` makes a take of each object and action,
    ``Object|Action``, and adds the prefix again in every round trip. It splits clips of several objects, and leaves out
    blend shapes. No upstream issue known. Blender 5.0.1; it can go when the add-on writes a take for each action with
    all its slots.
    """
    scene = scene_data.scene
    animations: list = []
    # The add-on would write a take in which nothing moves of other clips.
    for clip in filter(_is_written, clips.find()):
        clip_playback.activate(clip)
        made = export_fbx_bin.fbx_animations_do(scene_data, clip.action, clip.start, clip.end, True, force_keep=True)
        animations += [made] if made else []
    animated = {(element, name) for made in animations for element, (_, nodes) in made[1].items() for name in nodes}
    if animations:
        clip_playback.activate()
        # The rest pose of bones without a skin is their current pose: it has to be updated.
        scene.frame_set(scene.frame_current)
    starts, ends = [made[4] for made in animations], [made[5] for made in animations]
    return animations, animated, min(starts, default=1e100), max(ends, default=-1e100)


def _is_written(clip: clips.Clip) -> bool:
    """Whether the add-on writes anything of the clip: it animates no lights, no visibility and no modifiers."""
    for owner, slot in clip.parts:
        paths = clips.paths(clip.action, slot)
        if owner.id_type == "CAMERA":
            paths &= {"lens", "dof.focus_distance"}
        elif owner.id_type == "OBJECT":
            paths = {path for path in paths if not path.startswith(("hide_", "modifiers[")) and path != "color"}
        if paths and owner.id_type != "LIGHT":
            return True
    return False
