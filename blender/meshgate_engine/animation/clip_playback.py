"""Plays clips: assigns them to what they move, and restores what was assigned before."""

import contextlib
import math
from collections.abc import Callable, Container, Iterator

import bpy

from ..blender_api import actions, scene
from . import clips


def activate(*playing: clips.Clip) -> None:
    """Assigns clips to everything that they move, and no clip to anything else.

    Of several clips that move one thing, the first is assigned to it.
    """
    for owner in [owner for owner in clips.owners() if owner.animation_data]:
        # NLA tracks play other clips.
        owner.animation_data.use_nla = False
        if owner.animation_data.action:
            owner.animation_data.action = None
            # Otherwise the next clip begins with the blend shapes of this one.
            reset_pose(owner)
    for armature in scene.armatures():
        reset_pose(armature)
    for clip in reversed(playing):
        for owner, slot in clip.parts:
            actions.assign(owner, clip.action, slot)


def play(clip: clips.Clip, keeping: Container[bpy.types.Object]) -> None:
    """Assigns the clip to everything that it moves; whatever it does not move keeps playing its own clip.

    Poses and blend shapes begin at rest, except those in ``keeping`` to which the clip is already assigned.
    """
    for owner, slot in clip.parts:
        if owner not in keeping or owner.animation_data is None or owner.animation_data.action != clip.action:
            reset_pose(owner)
        actions.assign(owner, clip.action, slot)
        # NLA tracks play other clips.
        owner.animation_data.use_nla = False


def reset_pose(owner: bpy.types.ID | None) -> None:
    """Resets the pose of a skeleton, or the values of blend shapes; does nothing to anything else."""
    for block in getattr(owner, "key_blocks", ()):
        block.value = 0.0
    for bone in owner.pose.bones if getattr(owner, "pose", None) else ():
        bone.matrix_basis.identity()


@contextlib.contextmanager
def restoring() -> Iterator[Callable[[], None]]:
    """Restores assigned clips, poses and the frame at the end; the function that it yields does so earlier."""
    owners = list(clips.owners())
    found = [(owner, owner.animation_data) for owner in owners if owner.animation_data]
    assigned = {owner: (data.action, data.action_slot, data.use_nla) for owner, data in found}
    things = [item for item in scene.objects() if item.animation_data]
    things += [bone for rig in scene.armatures() for bone in rig.pose.bones]
    transforms = [(thing, thing.matrix_basis.copy()) for thing in things]
    shapes = [(block, block.value) for owner in owners for block in getattr(owner, "key_blocks", ())]
    frame = bpy.context.scene.frame_current

    def put_back() -> None:
        for owner in [owner for owner in owners if owner.animation_data]:
            data = owner.animation_data
            action, slot, data.use_nla = assigned.get(owner, (None, None, True))
            data.action = action
            if action:
                data.action_slot = slot
        for thing, matrix in transforms:
            thing.matrix_basis = matrix
        for block, value in shapes:
            block.value = value

    try:
        yield put_back
    finally:
        put_back()
        bpy.context.scene.frame_set(frame)


def remove_animation() -> None:
    """Removes all animation, at the first frame of the clips; skeletons and blend shapes go to rest."""
    found = clips.find()
    moving = {owner for clip in found for owner, _slot in clip.parts}
    if found:
        bpy.context.scene.frame_set(math.floor(min(clip.start for clip in found)))
    for owner in clips.owners():
        owner.animation_data_clear()
    for action in list(bpy.data.actions):
        bpy.data.actions.remove(action)
    for owner in moving:
        reset_pose(owner)
