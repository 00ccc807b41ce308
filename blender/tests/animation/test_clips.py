"""Clips keep the poses of the figure in every format, not only their names."""

from pathlib import Path

import bpy
import pytest
from bvh_models import flat
from helpers import build, convert, in_child
from models import box, lively_figure

MOMENTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def poses(path: Path) -> dict:
    """The vertices of the figure at some frames of each clip, in metres."""
    from meshgate_engine import formats
    from meshgate_engine.animation import clip_playback, clips
    from meshgate_engine.job import Job
    from meshgate_engine.report import statistics

    target = path.suffix[1:]
    formats.module(target).read(Job(str(path), target, "", ""))
    scene = bpy.context.scene
    found = {}
    for take in clips.find():
        clip_playback.activate(take)
        corners = []
        for moment in MOMENTS:
            scene.frame_set(round(take.start) + round(moment * (take.end - take.start)))
            corners.append(statistics._geometry()["bounds_m"])
        found[take.name] = [corner["min"] + corner["max"] for corner in corners]
    return found


@pytest.mark.parametrize("target", ["fbx", "glb", "blend", "usdc"])
def test_conversion_keeps_poses(tmp_path, target):
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
def test_scaling_keeps_poses(tmp_path, target):
    source = build(tmp_path, lively_figure)
    before = in_child(poses, source)
    convert(tmp_path / "c", source, target, scale=3.0)
    after = in_child(poses, tmp_path / "c/out" / f"model.{target}")
    for name, corners in after.items():
        for expected, corner in zip(before[name], corners, strict=True):
            assert corner == pytest.approx([3 * value for value in expected], abs=0.006)


def _before_zero() -> None:
    lively_figure()
    bpy.context.scene.frame_start = 0
    item = box("Box", (2, 2, 0), (3, 3, 1))
    item.animation_data_create().action = bpy.data.actions["Nod"]
    item.animation_data.action_slot = bpy.data.actions["Nod"].slots.new("OBJECT", "Box")
    for frame, place in ((1, 0.0), (31, 0.5)):
        item.location.x = place
        item.keyframe_insert("location", frame=frame)
    for action, frames in ((bpy.data.actions["Nod"], -20), (bpy.data.actions["Walk"], -5)):
        for bag in action.layers[0].strips[0].channelbags:
            for curve in bag.fcurves:
                for point in curve.keyframe_points:
                    point.co.x += frames
                curve.update()
    bpy.data.objects["Rig"].animation_data.action = bpy.data.actions["Nod"]


def keyed(path: Path) -> dict:
    """The first and last frame of each clip."""
    from meshgate_engine import formats
    from meshgate_engine.animation import clips
    from meshgate_engine.job import Job

    target = path.suffix[1:]
    formats.module(target).read(Job(str(path), target, "", ""))
    return {take.name: (take.start, take.end) for take in clips.find()}


@pytest.mark.parametrize("target", ["fbx", "glb", "usdc", "usdz", "abc", "bvh"])
def test_clips_starting_before_frame_0_are_not_cut(tmp_path, target):
    source = build(tmp_path, _before_zero)
    assert in_child(keyed, source) == {"Nod": (-19, 11), "Walk": (-4, 11)}
    before = in_child(poses, source)["Nod"]
    report = convert(tmp_path / "c", source, target)
    frames = {clip["frames"] for clip in report["output"]["clips"]}
    assert frames == ({31, 16} if target in {"fbx", "glb"} else {31})
    path = tmp_path / "c/out" / f"model.{target}"
    if target in {"fbx", "glb", "usdc", "usdz"}:
        after = in_child(poses, path)["Nod"]
        assert flat(after) == pytest.approx(flat(before), abs=0.002)
    if target == "glb":
        assert in_child(keyed, path) == {"Nod": (0, 30), "Walk": (15, 30)}


def _in_tracks() -> None:
    """A box animated by NLA tracks that start before frame 0."""
    item = box("Box")
    for frame, place in ((-10, 0.0), (20, 3.0)):
        item.location.x = place
        item.keyframe_insert("location", frame=frame)
    action, slot = item.animation_data.action, item.animation_data.action_slot
    tracks = item.animation_data.nla_tracks.new()
    for start in (-10, 40):
        tracks.strips.new("Strip", start, action).action_slot = slot
    item.animation_data.action = None


def _shifted() -> tuple[list[float], list[float]]:
    from meshgate_engine.animation import clip_export

    _in_tracks()
    scene = bpy.context.scene

    def places(first: int) -> list[float]:
        found = []
        for frame in range(first, first + 90, 10):
            scene.frame_set(frame)
            found.append(bpy.data.objects["Box"].matrix_world.translation.x)
        return found

    before = places(-10)
    clip_export._shift_all(scene, 10)
    return before, places(0)


def test_nla_strips_shift_with_their_clips():
    before, after = in_child(_shifted)
    assert max(before) == pytest.approx(3)
    assert after == pytest.approx(before)
