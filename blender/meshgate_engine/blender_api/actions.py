"""Actions: assigning them, and their curves and keys."""

from collections.abc import Callable, Iterator

import bpy
import numpy as np

from . import arrays


def assign(owner: bpy.types.ID, action: bpy.types.Action, slot: bpy.types.ActionSlot) -> None:
    """Assigns a slot of an action to what it moves."""
    data = owner.animation_data or owner.animation_data_create()
    data.action = action
    data.action_slot = slot


def drivers(owner: bpy.types.ID) -> list[bpy.types.FCurve]:
    """The drivers of a data block."""
    return list(owner.animation_data.drivers) if owner.animation_data else []


def channelbag(action: bpy.types.Action, slot: bpy.types.ActionSlot) -> bpy.types.ActionChannelbag:
    """The curves of a slot in the first layer, made if there are none."""
    return action.layers[0].strips[0].channelbag(slot, ensure=True)


def curves(action: bpy.types.Action, slot: bpy.types.ActionSlot | None = None) -> list[bpy.types.FCurve]:
    """The curves of a slot, or of all slots, of all layers."""
    bags = (bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags)
    return [curve for bag in bags if slot is None or bag.slot == slot for curve in bag.fcurves]


def all_curves() -> Iterator[bpy.types.FCurve]:
    """The curves of all actions."""
    for action in bpy.data.actions:
        yield from curves(action)


def copy_curves(
    source: tuple[bpy.types.Action, bpy.types.ActionSlot], to: tuple[bpy.types.Action, bpy.types.ActionSlot]
) -> None:
    """Copies the curves of a slot's first layer to another slot."""
    bag = channelbag(*to)
    for curve in channelbag(*source).fcurves:
        bag.fcurves.new_from_fcurve(curve)


def change_keys(curve: bpy.types.FCurve, change: Callable[[np.ndarray], None]) -> None:
    """Has ``change`` edit the keys of a curve and their handles: arrays of frames and values, shape (keys, 2)."""
    for name in ("handle_left", "co", "handle_right"):
        points = arrays.get(curve.keyframe_points, name, 2)
        change(points)
        arrays.put(curve.keyframe_points, name, points)
    curve.update()
