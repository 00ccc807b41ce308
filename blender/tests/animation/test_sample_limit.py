"""Motion that would take hours to sample is refused immediately; realistic long motion is accepted."""

import time

import bpy
import pytest
from helpers import build, convert
from humans import person
from meshgate_engine.animation import sample_limit
from meshgate_engine.errors import ConversionError
from models import box, empty, keys

# Seconds: more than reading a model with two keys takes on a busy machine, and much less than sampling it.
AT_ONCE = 30


def moving(last: int, *, count: int = 1, still: int = 0, takes: int = 1, first: int = 0):
    """Makes boxes that move from one place to another in each clip, and boxes that do not move."""
    for number in range(count):
        item = box(f"Moving{number}")
        for take in range(takes):
            keys(item, "location", {first: 0.0, last: 1.0}, name=f"Clip{take}")
    for number in range(still):
        box(f"Still{number}")


def refused(folder, source, target: str, **options) -> str:
    began = time.monotonic()
    with pytest.raises(ConversionError) as raised:
        convert(folder, source, target, **options)
    assert time.monotonic() - began < AT_ONCE
    assert raised.value.code == "import_failed"
    assert raised.value.detail.startswith("the motion is too long: ")
    assert raised.value.detail.endswith("; convert shorter clips, or to blend, or with animation=false")
    return raised.value.detail


@pytest.mark.parametrize("target", ["fbx", "glb", "usdc", "abc"])
def test_clips_longer_than_blender_allows_are_refused(tmp_path, target):
    source = build(tmp_path / "source", lambda: moving(2_000_000))
    assert "frame 2000000" in refused(tmp_path, source, target)


def test_targets_without_sampling_accept_motion_of_any_length(tmp_path):
    source = build(tmp_path / "source", lambda: moving(2_000_000))
    assert convert(tmp_path / "blend", source, "blend")["output"]["clips"]
    convert(tmp_path / "stl", source, "stl")
    convert(tmp_path / "still", source, "glb", animation=False)


@pytest.mark.parametrize(
    ("target", "model"),
    [
        ("fbx", {"count": 11}),
        ("fbx", {"still": 10}),
        ("fbx", {"takes": 11}),
        ("glb", {"count": 11}),
        ("usdc", {"count": 101}),
    ],
)
def test_too_many_samples_are_refused(tmp_path, target, model):
    source = build(tmp_path / "source", lambda: moving(1_000_000, **model))
    assert "samples" in refused(tmp_path, source, target)


def test_a_long_skeleton(tmp_path):
    def build_human():
        rig = person()
        keys(rig, f'pose.bones["{rig.pose.bones[0].name}"].location', {0: 0.0, 1_000_000: 1.0}, name="Long")

    source = build(tmp_path / "source", build_human)
    for target in ("bvh", "vrma", "fbx"):
        refused(tmp_path / target, source, target)


def test_long_motion_is_refused_before_it_is_baked(tmp_path):
    def follow():
        box("Leader")
        keys(bpy.data.objects["Leader"], "location", {0: 0.0, 1_000_000: 1.0})
        for number in range(10):
            item = empty(f"Follower{number}", (0, 0, 0))
            item.constraints.new("COPY_LOCATION").target = bpy.data.objects["Leader"]
        empty("Last", (0, 0, 0)).constraints.new("COPY_LOCATION").target = bpy.data.objects["Leader"]

    source = build(tmp_path / "source", follow)
    assert "samples" in refused(tmp_path, source, "glb")


@pytest.mark.parametrize(
    ("frames", "moving", "most"),
    [
        # Ten thousand frames of a skeleton, and an hour at 60 frames per second of as many objects as the limit allows.
        (10_000, 61, sample_limit.MOST_SAMPLES),
        (216_000, 46, sample_limit.MOST_SAMPLES),
        (216_000, 61, sample_limit.MOST_TIMELINE_SAMPLES),
        (sample_limit.LAST_FRAME - 1, 9, sample_limit.MOST_SAMPLES),
    ],
)
def test_realistic_long_motion_is_accepted(frames, moving, most):
    assert sample_limit.check_frames(1, frames, moving, 0, most) == frames * moving
