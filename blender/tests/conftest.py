import sys
from pathlib import Path

import bpy
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture
def vrm_addon(monkeypatch):
    """The VRM add-on in every child, as the zygote enables it before it forks."""
    monkeypatch.setattr("helpers._empty_scene", _empty_scene_with_addon)


def _empty_scene_with_addon():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.preferences.addon_enable(module="io_scene_vrm")
