"""Writes poses into clips for targets that hold poses nowhere else, and reports poses that a target cannot hold."""

import bpy
import numpy as np
from mathutils import Matrix

from ..blender_api import actions, scene
from ..capabilities import Capabilities, Clips
from ..job import Job
from . import bake_bones, clips, keyframes

_TOLERANCE = 1e-4  # smaller differences in a bone's matrix are none


def report_pose(job: Job) -> None:
    """Reports a pose that is lost or that the bounds do not show; call it once the clips are prepared for the target.

    A report's bounds are those of the rest pose wherever a format has one.
    """
    moving = bool(clips.find())
    if not job.target.skeletons and (_bones_are_posed() or _shapes_are_set()):
        shape = "the model is posed or has blend shapes set: the result is that shape, bounds_m of the input is at rest"
        frame = f"bounds_m of the result is the box at the clip's first frame: {job.output_format} holds no rest pose"
        job.warn(frame if moving else shape)
    elif not job.target.shape_values and not moving and _shapes_are_set():
        job.lose("blend shape values", 1, "clips only")


def key_static_pose(target: Capabilities) -> None:
    """Adds a key for each bone that is posed and that no clip moves: exporters begin clips with all bones at rest."""
    found = clips.find()
    for rig in scene.armatures() if found else ():
        own = [(clip, slot) for clip in found for slot in clip.slots_of(rig)]
        if not own and target.clips is Clips.SKELETON:
            continue
        moved = {path for clip, slot in own for path in clips.paths(clip.action, slot)}
        moved = {path.rpartition("]")[0] for path in moved if path.startswith("pose.")}
        posed = map(bake_bones.BakedBone, (bone for bone in rig.pose.bones if _differ(bone.matrix_basis, np.eye(4))))
        for baked in [baked for baked in posed if baked.path.rpartition("]")[0] not in moved]:
            row = np.float32([keyframes.transform_row(baked.thing.matrix_basis, None)])
            baked.set(row[0])
            for clip, slot in own or [(clip, _slot(clip, rig)) for clip in found]:
                keyframes.write_rows(actions.channelbag(clip.action, slot), baked, [clip.start], row)


def _slot(clip: clips.Clip, rig: bpy.types.Object) -> bpy.types.ActionSlot:
    """The slot of a clip for a skeleton, made if the clip does not move it."""
    return clip.action.slots.get(f"OB{rig.name}") or clip.action.slots.new("OBJECT", rig.name)


def _bones_are_posed() -> bool:
    bpy.context.view_layer.update()
    skeletons = {mesh.find_armature() for mesh in scene.meshes()} - {None}
    return any(_differ(bone.matrix, bone.bone.matrix_local) for item in skeletons for bone in item.pose.bones)


def _differ(one: np.ndarray | Matrix, other: np.ndarray | Matrix) -> bool:
    return bool((np.abs(np.array(one) - np.array(other)) > _TOLERANCE).any())


def _shapes_are_set() -> bool:
    """Whether a blend shape has a value; the first shape key is the basis."""
    keys = [item.data.shape_keys for item in scene.meshes() if item.data.shape_keys]
    return any(block.value and not block.mute for key in keys for block in key.key_blocks[1:])
