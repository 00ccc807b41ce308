"""VRM animation: the motion of a humanoid without an avatar, in a glb with the extension VRMC_vrm_animation.

The VRM add-on needs an avatar to read one, and glTF's importer makes a skeleton only of nodes in a skin. So this module
adds such a skin to a copy of the file, and imports the copy by glTF's importer.
"""

import contextlib
import functools
from pathlib import Path

import bpy

from ..animation import clip_export, clip_playback, clips, sample_limit
from ..blender_api import scene
from ..blender_api.addon_patches import patched
from ..blender_api.operators import exporting
from ..errors import ConversionError
from ..humanoid import bone_mapping
from ..job import Job
from . import glb_container, gltf

_EXTENSION = "VRMC_vrm_animation"


def read(job: Job) -> str:
    """Imports the motion as a skeleton with a humanoid and one clip."""
    try:
        document, buffer = glb_container.load(Path(job.input))
        human = document["extensions"][_EXTENSION]["humanoid"]["humanBones"]
        nodes = document["nodes"]
        bones = {name: int(bone["node"]) for name, bone in human.items()}
        joints = _joints(nodes, set(bones.values()), bones["hips"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ConversionError("import_failed", "not a readable vrma file: it has no humanoid") from error
    if not document.get("animations"):
        raise ConversionError("no_animation", "the model has no animation")
    expressions = document["extensions"][_EXTENSION].get("expressions") or {}
    if any(expressions.get(kind) for kind in ("preset", "custom")):
        job.lose("all expressions", 1, "bones only")

    title = document["animations"][0].get("name") or Path(job.input).stem
    document["animations"] = [{**document["animations"][0], "name": title}]
    titles = {index: name for name, index in bones.items()}
    for index in joints:
        nodes[index]["name"] = _unique(nodes[index].get("name") or titles.get(index) or f"node{index}", index, nodes)
    names = {name: nodes[index]["name"] for name, index in bones.items()}
    document["skins"] = [{"joints": joints}]
    copy = Path("tmp/motion.glb")
    copy.parent.mkdir(exist_ok=True)
    glb_container.save(copy, document, buffer)
    try:
        importer = gltf.read(Job(str(copy), "glb", job.output, job.output_format))
    except ConversionError as error:
        raise ConversionError(error.code, error.detail.replace("glb", "vrma")) from error

    item = bone_mapping.armature()
    kept, above = {item}, item.parent
    while above:
        kept.add(above)
        above = above.parent
    for other in [other for other in scene.objects() if other not in kept]:
        bpy.data.objects.remove(other)
    bone_mapping.write(item, {name: bone for name, bone in names.items() if bone in item.data.bones})
    bone_mapping.assign(item)
    return importer


def _joints(nodes: list[dict], human: set[int], hips: int) -> list[int]:
    """The nodes of the human bones and those between them, from the hips down."""
    joints: list[int] = []

    def visit(index: int) -> bool:
        place = len(joints)
        joints.append(index)
        below = [visit(child) for child in nodes[index].get("children") or []]
        if index in human or any(below):
            return True
        del joints[place:]
        return False

    visit(hips)
    return joints


def _unique(name: str, index: int, nodes: list[dict]) -> str:
    same = any(other.get("name") == name for number, other in enumerate(nodes) if number != index)
    return f"{name}_{index}" if same else name


def write(job: Job) -> None:
    """Exports one clip of the human in the scene."""
    item = bone_mapping.armature()
    clip = clip_export.choose_one(job, item, clips.find())
    if clip is None:
        raise ConversionError("no_animation", "the model has no animation")
    sample_limit.check_clips([clip])
    bone_mapping.assign(item, job)
    scene.unlink_meshes()
    clip_playback.activate(clip)
    # The add-on evaluates the first slot of the clip, which may be of blend shapes.
    for slot in [slot for slot in clip.action.slots if slot != clip.slots_of(item)[0]]:
        clip.action.slots.remove(slot)
    bpy.context.scene.frame_start, bpy.context.scene.frame_end = round(clip.start), round(clip.end)
    bpy.context.view_layer.objects.active = item
    with _cached_human_bones():
        exporting(job, bpy.ops.export_scene.vrma, armature_object_name=item.name)
    _check(job, clip.name)


def _cached_human_bones() -> contextlib.AbstractContextManager[None]:
    """Caches the table of human bones, which the add-on rebuilds for each bone of each frame.

    Nothing assigns bones during the export, and rebuilding took four fifths of the time. Cause:
    ``vrm_animation_exporter.py`` calls ``human_bone_name_to_human_bone`` for every bone that it visits. No upstream
    issue known. VRM add-on 4.10.2; it can go when the add-on builds the table once.
    """
    from io_scene_vrm.editor.vrm1.property_group import Vrm1HumanBonesPropertyGroup as Group

    return patched(Group, human_bone_name_to_human_bone=functools.cache(Group.human_bone_name_to_human_bone))


def _check(job: Job, name: str) -> None:
    """Checks the file and adds the clip's name, which ``vrm_animation_exporter.py`` does not write.

    No upstream issue known. VRM add-on 4.10.2.
    """
    try:
        document, buffer = glb_container.load(Path(job.output))
        document["extensions"][_EXTENSION]["humanoid"]["humanBones"]["hips"]["node"]
        document["animations"][0]["name"] = name
    except (ValueError, LookupError, TypeError) as error:
        raise ConversionError("export_failed", "the vrma file written has no motion") from error
    glb_container.save(Path(job.output), document, buffer)
