"""Starts a zygote: ``python -I …/meshgate_engine/__main__.py``, or ``blender --background --python`` with this file."""

import sys
from pathlib import Path

# Started by its path, it does not find its own package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from meshgate_engine.runtime import zygote

zygote.main()
