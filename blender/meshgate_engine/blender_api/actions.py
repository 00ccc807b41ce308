"""Actions: assigning them, and their curves."""

import bpy


def assign(owner: bpy.types.ID, action: bpy.types.Action, slot: bpy.types.ActionSlot) -> None:
    """Assigns a slot of an action to what it moves."""
    data = owner.animation_data or owner.animation_data_create()
    data.action = action
    data.action_slot = slot


def curves(action: bpy.types.Action, slot: bpy.types.ActionSlot) -> list[bpy.types.FCurve]:
    """The curves of a slot, of all layers."""
    return [
        curve
        for layer in action.layers
        for strip in layer.strips
        for bag in strip.channelbags
        if bag.slot == slot
        for curve in bag.fcurves
    ]
