"""Scaling applies to every length, and the report names exceptions."""

import bpy
import pytest
from helpers import build, convert, in_child
from models import box, clip, skinned_figure


def _save_moving(path: str) -> None:
    rig = skinned_figure()
    bpy.context.scene.render.fps = 30
    clip(rig, "Nod", 31)
    bpy.ops.wm.alembic_export(filepath=path, start=1, end=31, as_background_job=False)


def _boxes(path: str) -> list[list[float]]:
    """The maximum of the bounds at the first and the middle frame."""
    from meshgate_engine import formats
    from meshgate_engine.job import Job
    from meshgate_engine.report import statistics

    target = path.rpartition(".")[2]
    formats.module(target).read(Job(path, target, path, target))
    found = []
    for frame in (1, 16):
        bpy.context.scene.frame_set(frame)
        found.append(statistics.counts([])["bounds_m"]["max"])
    return found


@pytest.mark.parametrize("target", ["abc", "usda", "usdz"])
def test_scaling_applies_to_animated_meshes(tmp_path, target):
    source = tmp_path / "moving.abc"
    in_child(_save_moving, str(source))
    report = convert(tmp_path / "c", source, target, scale=2.0)
    assert [made["frames"] for made in report["output"]["clips"]] == [31]
    before = in_child(_boxes, str(source))
    assert before[1] != pytest.approx(before[0], abs=0.1)
    after = in_child(_boxes, str(tmp_path / f"c/out/model.{target}"))
    for was, corner in zip(before, after, strict=True):
        assert corner == pytest.approx([2 * value for value in was], abs=1e-3)


def _link(name: str, data: bpy.types.ID | None) -> bpy.types.Object:
    item = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(item)
    return item


def _text() -> None:
    words = bpy.data.curves.new("Words", "FONT")
    words.body, words.extrude, words.offset_x = "HI", 0.2, 0.5
    _link("Words", words)


def _metaball() -> None:
    ball = bpy.data.metaballs.new("Ball")
    ball.elements.new().radius = 1
    _link("Ball", ball)


def _instanced() -> None:
    parts = bpy.data.collections.new("Parts")
    item = box("Box")
    item.location.x = 5
    parts.objects.link(item)
    bpy.context.scene.collection.objects.unlink(item)
    parts.instance_offset = (4, 0, 0)
    holder = _link("Here", None)
    holder.instance_type, holder.instance_collection = "COLLECTION", parts


def _limited() -> None:
    item = box("Box")
    item.location.z = 5
    limit = item.constraints.new("LIMIT_LOCATION")
    limit.use_max_z, limit.max_z = True, 1.5


def _held_child() -> None:
    item, holder = box("Box"), _link("Holder", None)
    holder.location.x = 1
    held = item.constraints.new("CHILD_OF")
    held.target = holder
    held.inverse_matrix[1][3] = 3.0


@pytest.mark.parametrize("target", ["blend", "glb", "usda"])
@pytest.mark.parametrize("builder", [_text, _metaball, _instanced, _limited, _held_child])
def test_scaling_applies_to_all_lengths(tmp_path, builder, target):
    report = convert(tmp_path / "c", build(tmp_path, builder), target, scale=2.0)
    before, after = report["input"]["bounds_m"], report["output"]["bounds_m"]
    for corner in ("min", "max"):
        assert after[corner] == pytest.approx([2 * value for value in before[corner]], abs=2e-3)
    assert report["warnings"] == []


def _points() -> None:
    box("Box")
    bpy.ops.object.pointcloud_random_add()
    bpy.ops.object.curves_random_add()
    bpy.ops.object.grease_pencil_add(type="STROKE")


def _sizes(path: str) -> dict:
    bpy.ops.wm.open_mainfile(filepath=path, load_ui=False, use_scripts=False)
    bpy.context.view_layer.update()
    return {item.type: max(item.dimensions) for item in bpy.context.scene.objects}


def test_scaling_applies_to_points_and_strokes(tmp_path):
    source = build(tmp_path, _points)
    convert(tmp_path / "c", source, "blend", scale=2.0)
    before, after = in_child(_sizes, str(source)), in_child(_sizes, str(tmp_path / "c/out/model.blend"))
    assert set(before) == {"MESH", "POINTCLOUD", "CURVES", "GREASEPENCIL"}
    assert after == {kind: pytest.approx(2 * size, rel=1e-3) for kind, size in before.items()}


def _driven() -> None:
    driver = box("Box").driver_add("location", 0).driver
    driver.type = "SUM"


def test_unscaled_drivers_are_reported(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _driven), "blend", scale=2.0)
    assert report["warnings"] == ["places that drivers set were not scaled: Box"]
