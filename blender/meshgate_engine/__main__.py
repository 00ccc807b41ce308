"""Starts a zygote: ``python -I …/meshgate_engine/__main__.py``, or ``blender --background --python`` with this file."""

import sys
from collections.abc import Callable
from pathlib import Path

# A file that is started by its path does not find its own package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from meshgate_engine.runtime import zygote


def _run(task: dict, progress: Callable[[str, float | None], None]) -> dict:
    from meshgate_engine import conversion

    return conversion.run(task, progress)


def _load() -> None:
    from meshgate_engine import conversion, formats  # noqa: F401

    formats.load_all()


# Both import Blender: a warm zygote loads it after the hello, a cold one in each child.
zygote.main(_run, _load)
