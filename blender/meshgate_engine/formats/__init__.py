"""The registry of formats: which module reads and writes which format.

To add a format, write a module here with

- ``read(job) -> str``: import ``job.input`` into the empty scene; returns the importer's name (``wm.fbx_import``);
- ``write(job) -> None``: export the scene to ``job.output``;

and give it a row in ``TABLE`` of ``capabilities.py`` and one in ``TABLE`` of ``src/domain/format.rs``. Blender's
operators are called by ``operators.importing`` and ``operators.exporting``, which turn what they say into a
``ConversionError``. What the target cannot hold and no count shows goes to ``job.losses``, what the reader should know
besides to ``job.warnings``. ``write`` may change the scene as it likes: nothing is done with it afterwards.
"""

import importlib
from types import ModuleType

from ..capabilities import TABLE

# More than a hundred modules, which take longer than a small conversion.
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
    """Imports every module and what the add-ons import at their first use: a zygote's children find it all loaded."""
    for name in TABLE:
        module(name)
    for name in _AT_FIRST_USE:
        importlib.import_module(name)
