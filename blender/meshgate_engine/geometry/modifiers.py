"""Applies modifiers: most targets hold none, and exporters differ in how they treat them."""

import bpy

from ..animation import bake_caches, clips, mesh_animation
from ..blender_api import attributes, scene
from ..capabilities import Capabilities, Clips
from ..job import Job

_KEPT = {"ARMATURE"}  # skinning, which targets hold


def apply(job: Job, *, scaled: bool) -> None:
    """Applies modifiers, except those of skeletons and of meshes with blend shapes.

    Where the target holds meshes that change over time, these keep the modifiers that change them.
    """
    kept = _KEPT | {bake_caches.MODIFIER} if job.target.changing_meshes else _KEPT
    modified = [item for item in scene.meshes() if _to_apply(item, kept)]
    if not modified:
        return
    # Whether the target holds motion, but no meshes that change.
    other_motion = job.target.clips in {Clips.ALL, Clips.SCENE}
    moves = job.animation and (job.target.changing_meshes or other_motion)
    changing = mesh_animation.changing_meshes() if moves else set()
    lost = [
        item for item in modified if item in changing and (scaled or other_motion or not _is_kept(item, job.target))
    ]
    cached = list(filter(bake_caches.is_cached, modified)) if job.animation and other_motion else []
    lost = list(dict.fromkeys([*lost, *cached]))
    if cached and not clips.find():
        # The source has one timeline: it loses the whole clip, and not only the meshes' part of it.
        job.lose("clips", 1, "changing meshes")
    elif other_motion:
        job.lose("mesh motion", len(lost), "changing meshes")
    else:
        job.lose("mesh motion by modifiers", len(lost), "scaled" if scaled else "skinned")
    _apply(job, [item for item in modified if item in lost or item not in changing], kept)


def _is_kept(item: bpy.types.Object, target: Capabilities) -> bool:
    """Whether the exporter writes the mesh of each frame: with skeletons (USD), not with a skin or blend shapes."""
    return not target.skeletons or not (item.data.shape_keys or item.find_armature())


def apply_or_remove(job: Job, item: bpy.types.Object) -> None:
    """Applies the modifiers of a mesh whose instances became objects; with blend shapes, removes them."""
    kept = _KEPT | {bake_caches.MODIFIER}
    _apply(job, [item], kept)
    for modifier in _to_apply(item, kept):
        item.modifiers.remove(modifier)


def _apply(job: Job, items: list[bpy.types.Object], kept: set[str]) -> None:
    """Applies the modifiers of meshes, and reports those of meshes with blend shapes as lost."""
    for item in [item for item in items if item.data.shape_keys]:
        names = tuple(modifier.name for modifier in _to_apply(item, kept))
        job.lose("modifiers", 1, "blend shapes", name=item.name, names=names)
    modified = [item for item in items if not item.data.shape_keys]
    muted = [modifier for item in modified for modifier in item.modifiers if modifier.type in kept]
    with attributes.changed(muted, show_viewport=False):
        graph = bpy.context.evaluated_depsgraph_get()
        made = [
            bpy.data.meshes.new_from_object(item.evaluated_get(graph), preserve_all_data_layers=True, depsgraph=graph)
            for item in modified
        ]
        for item, mesh in zip(modified, made, strict=True):
            mesh.name = item.data.name
            item.data = mesh
            for modifier in [modifier for modifier in item.modifiers if modifier.type not in kept]:
                item.modifiers.remove(modifier)


def _to_apply(item: bpy.types.Object, kept: set[str]) -> list[bpy.types.Modifier]:
    return [modifier for modifier in item.modifiers if modifier.type not in kept and modifier.show_viewport]
