"""Autodesk FBX. The usual importer is Blender's own in C++, the other one the older add-on in Python."""

import bpy
from io_scene_fbx import export_fbx_bin

from .. import clips
from ..job import Job
from ..operators import exporting, importing


def read(job: Job) -> str:
    """Imports the file."""
    if job.other_importer:
        importing(job, bpy.ops.import_scene.fbx, use_image_search=False, use_custom_props=True)
        return "import_scene.fbx"
    importing(job, bpy.ops.wm.fbx_import)
    return "wm.fbx_import"


def write(job: Job) -> None:
    """Exports the scene in centimetres, y up, textures inside, one take for each clip."""
    usual = export_fbx_bin.fbx_animations
    export_fbx_bin.fbx_animations = _takes
    try:
        exporting(
            job,
            bpy.ops.export_scene.fbx,
            check_existing=False,
            # Else every skeleton gains a bone at each end per round trip.
            add_leaf_bones=False,
            path_mode="COPY",
            embed_textures=True,
            use_triangles=job.triangulate,
            use_custom_props=True,
            bake_anim=job.animation,
            # The add-on's "simplify" drops keys; what it saves is not worth a different motion.
            bake_anim_simplify_factor=0.0,
        )
    finally:
        export_fbx_bin.fbx_animations = usual


def _takes(scene_data: tuple) -> tuple[list, set, float, float]:
    """In place of the add-on's function of the same shape, which makes a take per object and action.

    That one names takes ``Object|Action`` (and once more with every round trip), tears a clip of several objects apart,
    and forgets blend shapes.
    """
    scene = scene_data.scene
    animations: list = []
    animated: set = set()
    first, last = 1e100, -1e100
    for take in clips.takes(scene):
        clips.activate(scene, take)
        made = export_fbx_bin.fbx_animations_do(scene_data, take.action, take.start, take.end, True, force_keep=True)
        if made is None:
            continue
        animations.append(made)
        first, last = min(first, made[4]), max(last, made[5])
        for element, (_layer, nodes) in made[1].items():
            animated.update((element, name) for name in nodes)
    clips.activate(scene, None)
    return animations, animated, first, last
