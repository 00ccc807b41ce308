"""Bakes the motion of USD and Alembic objects, which a constraint reads from the imported file in each frame.

The motion becomes a clip like any other. Both formats have one timeline, so everything that moves is one clip.
"""

import bpy
import numpy as np

from ..blender_api import actions, scene
from . import bake_objects, keyframes, sample_limit

_CONSTRAINT = "TRANSFORM_CACHE"
MODIFIER = "MESH_SEQUENCE_CACHE"


def has_motion() -> bool:
    """Whether anything moves in the scene that was imported."""
    return bool(bpy.data.actions) or any(_constraints(item) for item in scene.objects())


def has_cached_meshes() -> bool:
    """Whether the scene has meshes whose shape Blender reads from the file in each frame."""
    return any(is_cached(item) for item in scene.meshes())


def is_cached(item: bpy.types.Object) -> bool:
    """Whether Blender reads the shape of the mesh from its file in each frame."""
    return any(modifier.type == MODIFIER for modifier in item.modifiers)


def remove_unused_caches() -> None:
    """Removes references to the imported file, which a .blend would carry to machines that do not have it."""
    bpy.data.batch_remove([cache for cache in bpy.data.cache_files if not cache.users])


def bake_to_clip() -> None:
    """Makes one clip of everything that moves, if anything does."""
    world = bpy.context.scene
    cached = [_CachedObject(item) for item in scene.objects() if _constraints(item)]
    if cached:
        _bake(cached, world)
    _merge_actions()
    # These files leave out keys that change nothing, so the clip gets its length from the scene.
    for action in bpy.data.actions if world.frame_start < world.frame_end else ():
        action.use_frame_range = True
        action.frame_start, action.frame_end = world.frame_start, world.frame_end


def _constraints(item: bpy.types.Object) -> list[bpy.types.Constraint]:
    return [constraint for constraint in item.constraints if constraint.type == _CONSTRAINT]


class _CachedObject(bake_objects.BakedObject):
    def row(self, evaluated: bpy.types.Object, before: np.ndarray | None) -> tuple[float, ...]:
        basis = evaluated.matrix_parent_inverse.inverted_safe() @ evaluated.matrix_local
        return keyframes.transform_row(basis, before)


def _bake(cached: list[_CachedObject], world: bpy.types.Scene) -> None:
    sample_limit.check_frames(world.frame_start, world.frame_end, len(cached))
    frames = range(world.frame_start, world.frame_end + 1)
    poses = keyframes.record([(baked.owner, [baked]) for baked in cached], frames)
    for baked, rows in poses.items():
        for constraint in _constraints(baked.thing):
            baked.thing.constraints.remove(constraint)
        baked.set(rows[0])
    moving = {baked: rows for baked, rows in poses.items() if keyframes.differ(rows)}
    if moving:
        keyframes.new_clip("Animation", frames, moving)
    world.frame_set(world.frame_start)


def _merge_actions() -> None:
    """Moves the curves of all actions into one: a skeleton's, or else the first."""
    owners = sorted(scene.objects(), key=lambda item: item.type != "ARMATURE")
    owners += [*bpy.data.shape_keys, *bpy.data.cameras, *bpy.data.lights]
    owners = [owner for owner in owners if owner.animation_data and owner.animation_data.action_slot]
    if len({owner.animation_data.action for owner in owners}) < 2:
        return
    kept = owners[0].animation_data.action
    for owner in owners:
        action, old = owner.animation_data.action, owner.animation_data.action_slot
        if action != kept:
            slot = kept.slots.new(owner.id_type, owner.name)
            actions.copy_curves((action, old), (kept, slot))
            actions.assign(owner, kept, slot)
    for action in list(bpy.data.actions):
        if action != kept and not action.users:
            bpy.data.actions.remove(action)
