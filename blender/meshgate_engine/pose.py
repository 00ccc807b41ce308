"""Models that are not in their rest pose, and what that means for targets without one."""

import bpy

from . import clips, scene
from .formats import USD
from .job import Job

# Targets that hold one shape and no pose.
STATIC = {"obj", "stl", "ply"}

# Targets that hold skeletons, and blend shapes only as clips.
_SHAPES_AT_REST = USD

# Of a bone's matrix.
_HAIR = 1e-4


def tell(job: Job) -> None:
    """Says what becomes of the pose; called when the clips are as the target will get them.

    The bounds of a report are those of the rest pose wherever there is one.
    """
    moving = bool(clips.takes(bpy.context.scene))
    if job.output_format == "abc" and moving and (_bones_are_posed() or _shapes_are_set()):
        job.warn("bounds_m of the result is the box at the clip's first frame: abc holds no rest pose")
    elif job.output_format in STATIC | {"abc"} and (_bones_are_posed() or _shapes_are_set()):
        job.warn(
            "the model is posed or has blend shapes set: the result is that shape, bounds_m of the input is at rest"
        )
    elif job.output_format in _SHAPES_AT_REST and not moving and _shapes_are_set():
        job.lose(f"the values of blend shapes: {job.output_format} holds them in clips only")


def _bones_are_posed() -> bool:
    bpy.context.view_layer.update()
    skeletons = {mesh.find_armature() for mesh in scene.meshes()} - {None}
    return any(_differs(bone) for item in skeletons for bone in item.pose.bones)


def _differs(bone: bpy.types.PoseBone) -> bool:
    rest = bone.bone.matrix_local
    return any(abs(bone.matrix[row][column] - rest[row][column]) > _HAIR for row in range(4) for column in range(4))


def _shapes_are_set() -> bool:
    """Whether a blend shape shows; the first one is the shape without any."""
    keys = [item.data.shape_keys for item in scene.meshes() if item.data.shape_keys]
    return any(block.value and not block.mute for key in keys for block in key.key_blocks[1:])
