"""The registry of formats: which module reads and writes which format.

To add a format, write a module here with

- ``read(job) -> str``: import ``job.input`` into the empty scene; returns the importer's name (``wm.fbx_import``);
- ``write(job) -> None``: export the scene to ``job.output``;
- ``texture_names(path) -> list[str]``, if it holds textures and the service counts its results: the names of the
  textures in a result;

and give it a row in ``TABLE`` of ``capabilities.py`` and one in ``TABLE`` of ``src/domain/format.rs``. Blender's
operators are called by ``operators.importing`` and ``operators.exporting``, which turn their errors into a
``ConversionError``. Call ``job.lose`` for a loss that no count shows, and ``job.warn`` for anything else that the user
should know. ``write`` may change the scene: nothing uses it afterwards.
"""

import importlib
from types import ModuleType

from ..capabilities import TABLE

# These import more than a hundred modules, which takes longer than a small conversion.
_AT_FIRST_USE = (
    "io_scene_gltf2.blender.exp.export",
    "io_scene_gltf2.blender.imp.blender_gltf",
    "io_scene_gltf2.io.imp.gltf2_io_gltf",
    "io_scene_fbx.export_fbx_bin",
    "io_scene_fbx.import_fbx",
    "io_anim_bvh.import_bvh",
    "io_anim_bvh.export_bvh",
)


def module(name: str) -> ModuleType:
    """The module of a format. Raises KeyError when there is none."""
    return importlib.import_module(f".{TABLE[name].module}", __name__)


def load_all() -> None:
    """Imports every module, and those that add-ons import at their first use, before a zygote forks children."""
    for name in TABLE:
        module(name)
    for name in _AT_FIRST_USE:
        importlib.import_module(name)
