"""Meshes that modifiers change with time: kept by USD and Alembic, said to be lost elsewhere, and no false alarm."""

import bpy
import numpy as np
import pytest
from helpers import build, convert, in_child
from models import box, clip, skinned_figure
from test_steered_bones import LAST, _empty, _keys


def _cube() -> bpy.types.Object:
    world = bpy.context.scene
    world.frame_start, world.frame_end, world.render.fps = 1, LAST, 30
    return box("Cube", (-0.5, -0.4, -0.3), (0.5, 0.6, 0.7))


def _tapered() -> None:
    modifier = _cube().modifiers.new("Taper", "SIMPLE_DEFORM")
    modifier.deform_method = "TAPER"
    for frame, factor in ((1, 0.0), (LAST, 1.5)):
        modifier.factor = factor
        modifier.keyframe_insert("factor", frame=frame)


def _hooked() -> None:
    lead, modifier = _empty("Lead", (0, 0, 0)), _cube().modifiers.new("Hook", "HOOK")
    modifier.object = lead
    modifier.vertex_indices_set([0, 1, 2])
    _keys(lead, "location", {1: 0.0, LAST: 1.0})


def _waving() -> None:
    """Without any clip."""
    _cube().modifiers.new("Wave", "WAVE")


def _shown(path: str) -> np.ndarray:
    from meshgate_engine import formats
    from meshgate_engine.job import Job

    target = path.rpartition(".")[2]
    formats.module(target).read(Job(path, target, path, "blend"))
    world = bpy.context.scene
    assert world.render.fps / world.render.fps_base == pytest.approx(30)
    found = []
    for frame in range(1, LAST + 1):
        world.frame_set(frame)
        graph = bpy.context.evaluated_depsgraph_get()
        (item,) = [item for item in graph.objects if item.type == "MESH"]
        places = np.array([item.matrix_world @ vertex.co for vertex in item.data.vertices])
        found.append([*places.min(axis=0), *places.max(axis=0), places.mean()])
    return np.array(found)


@pytest.mark.parametrize("target", ["usdc", "abc"])
@pytest.mark.parametrize("builder", [_tapered, _hooked, _waving])
def test_formats_that_hold_it_keep_it(tmp_path, builder, target):
    source = build(tmp_path, builder)
    report = convert(tmp_path / "c", source, target)
    before, after = in_child(_shown, str(source)), in_child(_shown, str(tmp_path / f"c/out/model.{target}"))
    assert np.ptp(before, axis=0).max() > 0.1
    assert after == pytest.approx(before, abs=2e-3)
    assert [each["frames"] for each in report["output"]["clips"]] == [LAST]
    assert report["losses"] == report["warnings"] == []


@pytest.mark.parametrize("target", ["glb", "fbx"])
@pytest.mark.parametrize("builder", [_tapered, _hooked, _waving])
def test_others_say_that_it_is_lost(tmp_path, builder, target):
    report = convert(tmp_path / "c", build(tmp_path, builder), target)
    assert report["losses"] == [f"the motion of 1 mesh: {target} holds no meshes that change with time"]
    assert len(report["output"]["clips"]) == (1 if builder == _hooked else 0)


def _tapered_in_a_skin() -> None:
    rig = skinned_figure()
    item = bpy.data.objects["Body"]
    item.shape_key_clear()
    clip(rig, "Nod", LAST)
    modifier = item.modifiers.new("Taper", "SIMPLE_DEFORM")
    modifier.deform_method = "TAPER"
    for frame, factor in ((1, 0.0), (LAST, 1.5)):
        modifier.factor = factor
        modifier.keyframe_insert("factor", frame=frame)


def test_usd_holds_it_only_without_a_skin(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _tapered_in_a_skin), "usdc")
    assert "the motion of 1 mesh by modifiers: usdc holds none beside a skeleton or blend shapes" in report["losses"]


def test_of_a_scaled_model_it_is_lost(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _hooked), "usdc", scale=2.0)
    assert report["losses"] == ["the motion of 1 mesh by modifiers: the model is scaled"]


def test_motion_that_was_not_wanted_is_not_lost(tmp_path):
    assert convert(tmp_path / "c", build(tmp_path, _tapered), "glb", animation=False)["losses"] == []


def _changed_once() -> None:
    """Modifiers that refer to others, which move along or not at all."""
    cube, lead = _cube(), _empty("Lead", (1, 0, 0))
    lead.parent = cube
    mirror = cube.modifiers.new("Mirror", "MIRROR")
    mirror.mirror_object = lead
    cube.modifiers.new("Subdivision", "SUBSURF")
    still = cube.modifiers.new("Array", "ARRAY")
    still.use_object_offset, still.offset_object = True, _empty("Step", (0, 2, 0))
    still.offset_object.parent = cube
    _keys(cube, "location", {1: 0.0, LAST: 2.0})


@pytest.mark.parametrize("target", ["glb", "fbx", "usdc"])
def test_modifiers_that_stay_the_same_are_no_motion(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _changed_once), target)
    assert report["losses"] == report["warnings"] == []
