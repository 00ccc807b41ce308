"""Replacing functions of Blender's add-ons while an operator runs.

The patches are for Blender 5.0.1 and the VRM add-on 4.10.2 (``blender/requirements.txt``). Each says when it can go;
with another version, take it out first and see whether its test fails.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def patched(owner: object, **replacements: Callable) -> Iterator[None]:
    """Replaces functions of a module or methods of a class, and puts them back at the end.

    A static method stays one.
    """
    before = {name: inspect.getattr_static(owner, name) for name in replacements}
    for name, function in replacements.items():
        setattr(owner, name, staticmethod(function) if isinstance(before[name], staticmethod) else function)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(owner, name, function)
