"""Patches end with their block."""

import pytest
from meshgate_engine.blender_api.addon_patches import patched


class _Addon:
    @staticmethod
    def scale():
        return 1


def test_a_patch_ends_with_its_block():
    with pytest.raises(KeyError), patched(_Addon, scale=lambda: 2, added=3):
        assert (_Addon().scale(), _Addon.added) == (2, 3)
        raise KeyError
    assert _Addon().scale() == 1
    assert not hasattr(_Addon, "added")
