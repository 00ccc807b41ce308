"""Changes attributes of Blender's data for a while."""

import contextlib
from collections.abc import Iterable, Iterator

import bpy


@contextlib.contextmanager
def changed(things: Iterable[bpy.types.bpy_struct], **values: object) -> Iterator[None]:
    """Sets attributes of all things, and restores each at the end."""
    before = [(thing, name, getattr(thing, name)) for thing in things for name in values]
    for thing, name, _own in before:
        setattr(thing, name, values[name])
    try:
        yield
    finally:
        for thing, name, own in before:
            setattr(thing, name, own)


def without_shape_keys(items: Iterable[bpy.types.Object]) -> contextlib.AbstractContextManager[None]:
    """Shows meshes without their blend shapes."""
    shaped = [item for item in items if item.data.shape_keys]
    return changed(shaped, active_shape_key_index=0, show_only_shape_key=True)
