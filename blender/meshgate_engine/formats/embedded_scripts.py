"""Removes from a .blend all code that would run when it is opened or rendered."""

import bpy

from ..blender_api import actions, scene
from ..job import Job


def remove(job: Job) -> None:
    """Removes drivers that run Python, run marks of texts, script nodes and Freestyle modules.

    Other drivers stay, and so do expressions that Blender evaluates without Python (``frame * 2``).
    """
    names = []
    for owner in [*scene.all_data(), *scene.embedded_data()]:
        animated = getattr(owner, "animation_data", None) and owner.is_editable
        for curve in actions.drivers(owner) if animated else ():
            if curve.driver.type == "SCRIPTED" and not curve.driver.is_simple_expression:
                names.append(f"{owner.name} {curve.data_path}")
                owner.animation_data.drivers.remove(curve)
    job.lose("drivers", len(names), "names", names=tuple(names))

    marked = [text for text in bpy.data.texts if text.use_module]
    for text in marked:
        text.use_module = False
    job.lose("text marks", len(marked), "names", names=tuple(text.name for text in marked))

    nodes = [node for tree in scene.node_trees() for node in tree.nodes if node.bl_idname == "ShaderNodeScript"]
    for node in nodes:
        node.id_data.nodes.remove(node)
    job.lose("script nodes", len(nodes), "would run")

    settings = [layer.freestyle_settings for each in bpy.data.scenes for layer in each.view_layers]
    modules = [(owner, module) for owner in settings for module in owner.modules]
    for owner, module in modules:
        owner.modules.remove(module)
    job.lose("Freestyle modules", len(modules), "would run")
