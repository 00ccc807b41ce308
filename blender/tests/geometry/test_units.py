"""A 1.8 m figure stays 1.8 m tall, upright and unmirrored in every format, with a skeleton and without."""

import struct
from pathlib import Path

import pytest
from helpers import build, convert, in_child
from models import BOUNDS, figure, lively_figure, skinned_figure

MESH_FORMATS = ["fbx", "obj", "glb", "usd", "usda", "usdc", "usdz", "stl", "ply", "abc", "blend"]
SKELETAL = ["fbx", "glb", "usdc", "blend"]


def assert_upright(counts, factor=1.0):
    assert counts["bounds_m"] is not None
    for corner in ("min", "max"):
        expected = [value * factor for value in BOUNDS[corner]]
        assert counts["bounds_m"][corner] == pytest.approx(expected, abs=0.001 * factor)


@pytest.mark.parametrize("target", MESH_FORMATS)
def test_a_round_trip_keeps_size_and_axes(tmp_path, target):
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
def test_a_skinned_model_keeps_size_and_axes(tmp_path, target, builder):
    source = build(tmp_path, builder)
    report = convert(tmp_path / "c", source, target)
    assert_upright(report["output"])
    assert report["output"]["skins"] == 1
    assert report["output"]["bones"] == 2
    assert report["output"]["blend_shapes"] == 2


@pytest.mark.parametrize("importer", ["usual", "other"])
def test_both_fbx_importers_keep_size_and_axes(tmp_path, importer):
    source = build(tmp_path, lively_figure, "source.fbx")
    report = convert(tmp_path / "c", source, "glb", importer=importer)
    assert_upright(report["input"])
    assert_upright(report["output"])


@pytest.mark.parametrize("target", ["glb", "fbx", "stl", "obj", "usdz", "abc", "blend"])
def test_the_scale_option_scales_every_format(tmp_path, target):
    source = build(tmp_path, lively_figure)
    report = convert(tmp_path / "c", source, target, scale=2.5)
    assert_upright(report["input"])
    assert_upright(report["output"], 2.5)


def test_an_fbx_stores_centimetres(tmp_path):
    path = build(tmp_path, figure, "source.fbx")
    unit, height = in_child(_unit_and_height, path)
    assert unit == 1.0
    assert height == pytest.approx(180, abs=0.1)


def _unit_and_height(path: Path) -> tuple[float, float]:
    from io_scene_fbx import parse_fbx

    root, _version = parse_fbx.parse(str(path))
    parts = {element.id: element for element in root.elems}
    settings = _properties(parts[b"GlobalSettings"])
    objects = parts[b"Objects"].elems
    (model,) = (element for element in objects if element.id == b"Model")
    (geometry,) = (element for element in objects if element.id == b"Geometry")
    (vertices,) = (element.props[0] for element in geometry.elems if element.id == b"Vertices")
    # In the mesh's own space z is up; the object's rotation turns it to the file's y.
    return settings[b"UnitScaleFactor"], max(vertices[2::3]) * _properties(model)[b"Lcl Scaling"]


def _properties(element) -> dict:
    (block,) = (child for child in element.elems if child.id == b"Properties70")
    return {prop.props[0]: prop.props[-1] for prop in block.elems}


def test_an_fbx_in_metres_is_read_in_metres(tmp_path):
    path = build(tmp_path, figure, "source.fbx")
    content = path.read_bytes()
    unit = b"UnitScaleFactor"
    # The value is the last property of its record: 'D' and eight bytes.
    place = content.index(unit) + len(unit)
    place = content.index(b"D\x00\x00\x00\x00\x00\x00\xf0?", place) + 1
    changed = content[:place] + struct.pack("<d", 100.0) + content[place + 8 :]
    path.write_bytes(changed)
    for importer in ("usual", "other"):
        report = convert(tmp_path / importer, path, "glb", importer=importer)
        assert_upright(report["input"], 100)
