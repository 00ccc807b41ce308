"""Patches Blender's add-ons while an operator runs.

The patches are for Blender 5.0.1 with its add-ons for FBX and for glTF 5.0.21, and for the VRM add-on 4.10.2
(``blender/requirements.txt``). Each patch names the function that makes it necessary, the upstream issue or that none
is known, the version, and when the patch can go. With another version, remove a patch and see whether its test fails.
"""

import contextlib
import inspect
from collections.abc import Iterator

_ABSENT = object()


@contextlib.contextmanager
def patched(owner: object, **replacements: object) -> Iterator[None]:
    """Replaces attributes of a module or class, or adds them, and restores the owner at the end.

    A static method stays one.
    """
    before = {name: inspect.getattr_static(owner, name, _ABSENT) for name in replacements}
    for name, made in replacements.items():
        setattr(owner, name, staticmethod(made) if isinstance(before[name], staticmethod) else made)
    try:
        yield
    finally:
        for name, own in before.items():
            if own is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, own)
