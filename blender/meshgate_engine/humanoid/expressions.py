"""Expressions of an avatar: those of a VRM, and those made of blend shapes with known names."""

import bpy

from ..blender_api import scene

# VRM 0.x expression -> VRM 1.0's.
VRM0_PRESETS = {
    "neutral": "neutral", "a": "aa", "i": "ih", "u": "ou", "e": "ee", "o": "oh", "blink": "blink", "joy": "happy",
    "angry": "angry", "sorrow": "sad", "fun": "relaxed", "lookup": "look_up", "lookdown": "look_down",
    "lookleft": "look_left", "lookright": "look_right", "blink_l": "blink_left", "blink_r": "blink_right",
}  # fmt: skip

# Expression of VRM 1.0 -> names of blend shapes that mean it, lower case and without separators.
_BLEND_SHAPES = {
    "blink": ("blink", "eyesclosed", "blinkboth", "まばたき"),
    "blink_left": ("blinkl", "blinkleft", "eyeblinkleft", "winkleft"),
    "blink_right": ("blinkr", "blinkright", "eyeblinkright", "winkright"),
    "aa": ("a", "aa", "mouthopen", "visemeaa", "vrcvaa", "あ"),
    "ih": ("i", "ih", "visemei", "vrcvih", "い"),
    "ou": ("u", "ou", "visemeu", "vrcvou", "う"),
    "ee": ("e", "ee", "visemee", "vrcve", "え"),
    "oh": ("o", "oh", "visemeo", "vrcvoh", "お"),
    "happy": ("happy", "joy", "smile", "笑い"),
    "angry": ("angry", "anger", "怒り"),
    "sad": ("sad", "sorrow", "悲しい"),
    "relaxed": ("relaxed", "fun"),
    "surprised": ("surprised", "surprise", "びっくり"),
}


def add_from_blend_shapes(vrm: bpy.types.PropertyGroup) -> None:
    """Makes expressions of blend shapes with known names, unless the source has expressions."""
    presets = vrm.expressions.preset
    if any(len(getattr(presets, name).morph_target_binds) for name in _BLEND_SHAPES):
        return
    for mesh in [mesh for mesh in scene.meshes() if mesh.data.shape_keys]:
        for block in mesh.data.shape_keys.key_blocks[1:]:
            plain = "".join(letter for letter in block.name.rpartition(".")[2].lower() if letter.isalnum())
            if expression := next((name for name, words in _BLEND_SHAPES.items() if plain in words), None):
                bind = getattr(presets, expression).morph_target_binds.add()
                bind.node.mesh_object_name = mesh.name
                bind.index, bind.weight = block.name, 1.0


def all_expressions(vrm: bpy.types.PropertyGroup) -> list[bpy.types.PropertyGroup]:
    """All expressions of a VRM 1.0, including those without effect."""
    presets = vrm.expressions.preset
    return [*(getattr(presets, name) for name in (*VRM0_PRESETS.values(), "surprised")), *vrm.expressions.custom]


def effects(expression: bpy.types.PropertyGroup) -> list[bpy.types.PropertyGroup]:
    """The lists of an expression's effects: on blend shapes, colours of materials, and places of textures."""
    return [expression.morph_target_binds, expression.material_color_binds, expression.texture_transform_binds]


def used(vrm: bpy.types.PropertyGroup) -> list[bpy.types.PropertyGroup]:
    """The expressions of a VRM 1.0 with an effect."""
    return [expression for expression in all_expressions(vrm) if any(len(part) for part in effects(expression))]
