"""A 1.8 m figure stays 1.8 m tall, upright and unmirrored in every format, with a skeleton and without."""

import pytest
from helpers import build, convert
from models import BOUNDS, figure, lively_figure, skinned_figure

MESH_FORMATS = ["fbx", "obj", "glb", "usd", "usda", "usdc", "usdz", "stl", "ply", "abc", "blend"]
SKELETAL = ["fbx", "glb", "usdc", "blend"]


def assert_upright(counts, factor=1.0):
    assert counts["bounds_m"] is not None
    for corner in ("min", "max"):
        expected = [value * factor for value in BOUNDS[corner]]
        assert counts["bounds_m"][corner] == pytest.approx(expected, abs=0.001 * factor)


@pytest.mark.parametrize("target", MESH_FORMATS)
def test_there_and_back(tmp_path, target):
    source = build(tmp_path, figure)
    there = convert(tmp_path / "there", source, target)
    assert_upright(there["input"])
    assert_upright(there["output"])
    assert there["output"]["triangles"] == there["input"]["triangles"] == 12
    back = convert(tmp_path / "back", tmp_path / "there/out" / f"model.{target}", "glb")
    assert_upright(back["input"])
    assert_upright(back["output"])


@pytest.mark.parametrize("target", SKELETAL)
@pytest.mark.parametrize("builder", [skinned_figure, lively_figure])
def test_with_a_skeleton(tmp_path, target, builder):
    source = build(tmp_path, builder)
    report = convert(tmp_path / "c", source, target)
    assert_upright(report["output"])
    assert report["output"]["skins"] == 1
    assert report["output"]["bones"] == 2
    assert report["output"]["blend_shapes"] == 2


@pytest.mark.parametrize("importer", ["usual", "other"])
def test_both_fbx_importers_agree(tmp_path, importer):
    source = build(tmp_path, lively_figure, "source.fbx")
    report = convert(tmp_path / "c", source, "glb", importer=importer)
    assert_upright(report["input"])
    assert_upright(report["output"])


@pytest.mark.parametrize("target", ["glb", "fbx", "stl", "obj", "usdz", "abc", "blend"])
def test_scale(tmp_path, target):
    source = build(tmp_path, lively_figure)
    report = convert(tmp_path / "c", source, target, scale=2.5)
    assert_upright(report["input"])
    assert_upright(report["output"], 2.5)
