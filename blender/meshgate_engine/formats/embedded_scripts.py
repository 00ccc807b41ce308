"""Removes from a .blend all code that would run when it is opened or rendered."""

from collections.abc import Iterator

import bpy

from ..blender_api import scene
from ..job import Job


def remove(job: Job) -> None:
    """Removes drivers that run Python, run marks of texts, script nodes and Freestyle modules.

    Other drivers stay, and so do expressions that Blender evaluates without Python (``frame * 2``).
    """
    _remove_drivers(job)
    _unmark_texts(job)
    _remove_script_nodes(job)
    _remove_freestyle_modules(job)


def _remove_drivers(job: Job) -> None:
    dropped = []
    for owner in _animated():
        for curve in list(owner.animation_data.drivers):
            if curve.driver.type == "SCRIPTED" and not curve.driver.is_simple_expression:
                dropped.append(f"{owner.name} {curve.data_path}")
                owner.animation_data.drivers.remove(curve)
    job.lose("drivers", len(dropped), "names", names=tuple(dropped))


def _unmark_texts(job: Job) -> None:
    marked = [text for text in bpy.data.texts if text.use_module]
    for text in marked:
        text.use_module = False
    job.lose("text marks", len(marked), "names", names=tuple(text.name for text in marked))


def _remove_script_nodes(job: Job) -> None:
    count = 0
    for tree in scene.node_trees():
        for node in [node for node in tree.nodes if node.bl_idname == "ShaderNodeScript"]:
            tree.nodes.remove(node)
            count += 1
    job.lose("script nodes", count, "would run")


def _remove_freestyle_modules(job: Job) -> None:
    count = 0
    for layer in (layer for each in bpy.data.scenes for layer in each.view_layers):
        for module in list(layer.freestyle_settings.modules):
            layer.freestyle_settings.modules.remove(module)
            count += 1
    job.lose("Freestyle modules", count, "would run")


def _animated() -> Iterator[bpy.types.ID]:
    """All data blocks that may have drivers."""
    for owner in [*scene.all_data(), *scene.embedded_data()]:
        if getattr(owner, "animation_data", None) and owner.is_editable:
            yield owner
