"""Clips keep their frames and frame rate, however slow or fast, and even if constant."""

import json

import bpy
import numpy as np
import pytest
from bvh_models import flat, parts, write_bvh
from helpers import build, convert
from meshgate_engine.animation.frame_rate import Curve, rate
from meshgate_engine.formats import glb_container
from models import clip, skinned_figure


def even(frames: int, fps: float, first: int = 0) -> list[Curve]:
    return [Curve((np.arange(first, first + frames) / fps).astype(np.float32).astype(np.float64))]


def at(*seconds: float, smooth: bool = False) -> list[Curve]:
    return [Curve(np.array(seconds), smooth)]


@pytest.mark.parametrize("fps", [0.5, 1, 5, 10, 12, 24, 29.97, 30 / 1.001, 30, 120.0048, 240, 1000])
@pytest.mark.parametrize("frames", [8, 96, 30_000])
def test_frame_rate_is_read_from_keys_on_every_frame(fps, frames):
    assert rate([even(frames, fps)]) == pytest.approx(fps, rel=2e-6)


def test_integer_frame_rates_stay_exact():
    assert [rate([even(40, fps, 100_000)]) for fps in (10, 24, 30, 120)] == [10, 24, 30, 120]


@pytest.mark.parametrize(
    ("clips", "expected"),
    [
        # Other clips have every second or third frame.
        ([even(500, 30), even(100, 60)], 60),
        ([even(500, 10), even(20, 30)], 30),
        ([even(500, 25), even(20, 30)], 25),
        # Some frames have no keys.
        ([at(0, 0.1, 0.3, 0.4, 1.2)], 10),
        ([[*at(0, 1), *at(0, 0.5, 1), *at(0.2, 0.7, 0.7 + 1 / 30)]], 30),
        # A channel with keys between the frames of the others.
        ([[*even(60, 30), *at(0, 1.98)]], 30),
        # Milliseconds.
        ([at(*(round(frame / 24, 3) for frame in range(50)))], pytest.approx(24, rel=1e-3)),
        # Few distant keys: set by hand, not sampled.
        ([at(0, 1, 2)], 24),
        ([at(0, 1.25, 2.5, 3.708333)], 24),
        ([at(*range(20), smooth=True)], 24),
        # A jump is two keys, not the length of a frame.
        ([[*even(60, 30), *at(0, 0.999, 1.0, 1.5)]], 30),
        ([even(60, 30), at(0.0, 0.001)], 30),
        # One frame, the first.
        ([at(1 / 30)], pytest.approx(30)),
        ([at(0)], 24),
        ([at(0, 0.123, 1.7)], None),
        # A single frame is no motion, and must not be sampled.
        ([at(0, 0.001), at(0, 100)], 24),
        ([at(*(step * 1e30 for step in range(9)))], 24),
        ([at(*(step * 1e-5 for step in range(9)))], 24),
        ([at(1e-38)], 24),
        ([at(-1e-38, 0, 1e38)], 24),
        ([[]], None),
        ([], None),
    ],
)
def test_frame_rate_matches_sparse_or_uneven_keys(clips, expected):
    assert rate(clips) == expected


@pytest.mark.parametrize("frame_time", ["2", "1", "0.5", "0.2", "0.1", "0.002", "0.001"])
@pytest.mark.parametrize("between", ["glb", "fbx", "usdc", "blend"])
def test_slow_and_fast_motion_keeps_its_frames(tmp_path, between, frame_time):
    source = write_bvh(tmp_path, frames=96, frame_time=frame_time)
    convert(tmp_path / "a", source, between, read_back=False)
    convert(tmp_path / "b", tmp_path / "a" / "out" / f"model.{between}", "bvh", read_back=False)
    _offsets, seconds, rows = parts(tmp_path / "b" / "out" / "model.bvh")
    assert (len(rows), seconds) == (96, pytest.approx(float(frame_time), rel=1e-4))
    assert rows[40][:3] == pytest.approx([0, 0.9, 0.4], abs=1e-3)


def still(folder, frames: int):
    """A BVH motion with equal frames."""
    path = write_bvh(folder, frames=frames, frame_time="0.04")
    head, time, rows = path.read_text().partition("Frame Time: 0.04\n")
    path.write_text(head + time + rows.splitlines(keepends=True)[-1] * frames)
    return path


@pytest.mark.parametrize("frames", [1, 2, 10])
@pytest.mark.parametrize("between", ["glb", "fbx", "blend", "usda", "usdz"])
def test_constant_motion_keeps_its_frames(tmp_path, between, frames):
    source = still(tmp_path, frames)
    convert(tmp_path / "a", source, between, read_back=False)
    report = convert(tmp_path / "b", tmp_path / "a" / "out" / f"model.{between}", "bvh", read_back=False)
    assert report["losses"] == []
    offsets, seconds, rows = parts(tmp_path / "b" / "out" / "model.bvh")
    assert (len(rows), seconds) == (frames, pytest.approx(0.04, rel=1e-5))
    assert offsets[1] == pytest.approx([0, 0.45, 0], abs=1e-4)
    assert flat(rows[-1:])[3:] == pytest.approx(flat(parts(source)[2][-1:])[3:], abs=1e-2)


def _still_and_moving() -> None:
    rig = skinned_figure()
    keys = bpy.data.objects["Body"].data.shape_keys
    for name, last in (("Nod", 31), ("Stand", 21), ("Wait", 12)):
        action = clip(rig, name, last, shape=keys)
        action.use_fake_user = True
        for bag in action.layers[0].strips[0].channelbags if name != "Nod" else ():
            for curve in bag.fcurves:
                for point in curve.keyframe_points:
                    point.co.y = 0.5
                curve.update()


def test_constant_clips_keep_the_keys_of_one_channel(tmp_path):
    convert(tmp_path / "c", build(tmp_path, _still_and_moving), "glb", read_back=False)
    path = tmp_path / "c" / "out" / "model.glb"
    document, buffer = glb_container.load(path)
    accessors = document["accessors"]
    keys = {
        animation["name"]: [accessors[sampler["input"]]["count"] for sampler in animation["samplers"]]
        for animation in document["animations"]
    }
    assert {name: max(counts) for name, counts in keys.items()} == {"Nod": 31, "Stand": 21, "Wait": 12}
    assert [counts.count(max(counts)) for name, counts in keys.items() if name != "Nod"] == [1, 1]
    assert document["buffers"][0]["byteLength"] == len(buffer)
    report = convert(tmp_path / "d", path, "glb")
    assert json.dumps([clip["frames"] for clip in report["output"]["clips"]]) == "[31, 21, 12]"
    assert [clip["seconds"] for clip in report["input"]["clips"]] == [1.25, 0.833333, 0.458333]


def _standing() -> None:
    rig = skinned_figure()
    for curve in clip(rig, "Stand", 21).layers[0].strips[0].channelbags[0].fcurves:
        for point in curve.keyframe_points:
            point.co.y = 0.5
        curve.update()


@pytest.mark.parametrize("target", ["usdc", "usdz"])
def test_a_model_with_a_constant_clip_is_complete(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _standing), target)
    for name in ("clips", "bones", "skins", "materials", "textures", "blend_shapes", "triangles"):
        assert report["output"][name] == report["input"][name]
    assert report["output"]["clips"][0]["frames"] == 21
    assert [path.name for path in (tmp_path / "c" / "out").iterdir() if path.is_file()] == [f"model.{target}"]
