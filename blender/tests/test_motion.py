"""Clips do not only keep their names: the figure goes through the same poses in every format."""

from pathlib import Path

import bpy
import pytest
from helpers import build, convert, in_child
from models import lively_figure

MOMENTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def poses(path: Path) -> dict:
    """The corners of the figure at some moments of each clip, in metres."""
    from meshgate_engine import clips, formats, measure
    from meshgate_engine.job import Job

    target = path.suffix[1:]
    formats.module(target).read(Job(str(path), target, "", ""))
    scene = bpy.context.scene
    found = {}
    for take in clips.takes(scene):
        clips.activate(scene, take)
        corners = []
        for moment in MOMENTS:
            scene.frame_set(round(take.start + moment * (take.end - take.start)))
            corners.append(measure._geometry()["bounds_m"])
        found[take.name] = [corner["min"] + corner["max"] for corner in corners]
    return found


@pytest.mark.parametrize("target", ["fbx", "glb", "blend", "usdc"])
def test_poses_survive(tmp_path, target):
    source = build(tmp_path, lively_figure)
    before = in_child(poses, source)
    convert(tmp_path / "c", source, target)
    after = in_child(poses, tmp_path / "c/out" / f"model.{target}")
    assert set(after) == ({"Nod"} if target == "usdc" else {"Nod", "Walk"})
    for name, corners in after.items():
        assert corners[2] != pytest.approx(corners[0], abs=0.1)
        for moment, corner in zip(MOMENTS, corners, strict=True):
            expected = before[name][MOMENTS.index(moment)]
            assert corner == pytest.approx(expected, abs=0.002), (name, moment)


@pytest.mark.parametrize("target", ["fbx", "glb"])
def test_poses_survive_scaling(tmp_path, target):
    source = build(tmp_path, lively_figure)
    before = in_child(poses, source)
    convert(tmp_path / "c", source, target, scale=3.0)
    after = in_child(poses, tmp_path / "c/out" / f"model.{target}")
    for name, corners in after.items():
        for expected, corner in zip(before[name], corners, strict=True):
            assert corner == pytest.approx([3 * value for value in expected], abs=0.006)
