"""USD and Alembic keep meshes that modifiers change over time; other formats report the loss, if there is one."""

import bpy
import numpy as np
import pytest
from helpers import build, convert, in_child
from models import LAST, box, clip, empty, keys, skinned_figure


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
    lead, modifier = empty("Lead", (0, 0, 0)), _cube().modifiers.new("Hook", "HOOK")
    modifier.object = lead
    modifier.vertex_indices_set([0, 1, 2])
    keys(lead, "location", {1: 0.0, LAST: 1.0})


def _waving() -> None:
    """A mesh with a wave modifier, without a clip."""
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
def test_usd_and_alembic_keep_modifier_motion(tmp_path, builder, target):
    source = build(tmp_path, builder)
    report = convert(tmp_path / "c", source, target)
    before, after = in_child(_shown, str(source)), in_child(_shown, str(tmp_path / f"c/out/model.{target}"))
    assert np.ptp(before, axis=0).max() > 0.1
    assert after == pytest.approx(before, abs=2e-3)
    assert [each["frames"] for each in report["output"]["clips"]] == [LAST]
    assert report["losses"] == report["warnings"] == []


@pytest.mark.parametrize("target", ["glb", "fbx"])
@pytest.mark.parametrize("builder", [_tapered, _hooked, _waving])
def test_other_formats_report_lost_modifier_motion(tmp_path, builder, target):
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


def test_usd_keeps_modifier_motion_only_without_a_skin(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _tapered_in_a_skin), "usdc")
    assert "the motion of 1 mesh by modifiers: usdc holds none beside a skeleton or blend shapes" in report["losses"]


def test_scaling_loses_modifier_motion(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _hooked), "usdc", scale=2.0)
    assert report["losses"] == ["the motion of 1 mesh by modifiers: the model is scaled"]


def test_animation_off_reports_no_lost_motion(tmp_path):
    assert convert(tmp_path / "c", build(tmp_path, _tapered), "glb", animation=False)["losses"] == []


def _changed_once() -> None:
    """A mesh with modifiers whose target objects move along with it."""
    cube, lead = _cube(), empty("Lead", (1, 0, 0))
    lead.parent = cube
    mirror = cube.modifiers.new("Mirror", "MIRROR")
    mirror.mirror_object = lead
    cube.modifiers.new("Subdivision", "SUBSURF")
    still = cube.modifiers.new("Array", "ARRAY")
    still.use_object_offset, still.offset_object = True, empty("Step", (0, 2, 0))
    still.offset_object.parent = cube
    keys(cube, "location", {1: 0.0, LAST: 2.0})


@pytest.mark.parametrize("target", ["glb", "fbx", "usdc"])
def test_constant_modifiers_do_not_count_as_motion(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _changed_once), target)
    assert report["losses"] == report["warnings"] == []


def _growing() -> None:
    _cube()
    curve = bpy.data.curves.new("Vine", "CURVE")
    curve.dimensions, curve.bevel_depth = "3D", 0.1
    spline = curve.splines.new("POLY")
    spline.points.add(1)
    spline.points[1].co = (3, 0, 0, 1)
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("Vine", curve))
    for frame, end in ((1, 0.1), (LAST, 1.0)):
        curve.bevel_factor_end = end
        curve.keyframe_insert("bevel_factor_end", frame=frame)


def _melting() -> None:
    _cube()
    for name in ("Drop", "Drop.001"):
        ball = bpy.data.metaballs.new(name)
        ball.elements.new()
        bpy.context.scene.collection.objects.link(bpy.data.objects.new(name, ball))
    keys(bpy.data.objects["Drop.001"], "location", {1: 0.0, LAST: 3.0})


def _spraying() -> None:
    cube = _cube()
    modifier = cube.modifiers.new("Spray", "PARTICLE_SYSTEM")
    settings = modifier.particle_system.settings
    settings.count, settings.render_type = 3, "OBJECT"
    settings.instance_object = box("Drop", (0, 0, 0), (0.1, 0.1, 0.1))


def _only_a_path() -> None:
    """A curve whose path alone is animated, and a text that moves as a whole."""
    curve = bpy.data.curves.new("Path", "CURVE")
    curve.bevel_depth = 0.1
    curve.splines.new("POLY").points.add(1)
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("Path", curve))
    for frame in (1, LAST):
        curve.eval_time = frame
        curve.keyframe_insert("eval_time", frame=frame)
    text = bpy.data.objects.new("Text", bpy.data.curves.new("Text", "FONT"))
    text.data.body = "A"
    bpy.context.scene.collection.objects.link(text)
    _cube()
    keys(text, "location", {1: 0.0, LAST: 3.0})


@pytest.mark.parametrize(
    ("builder", "lost"),
    [
        (_growing, ["the motion of 1 curve, text or metaball: {} holds no such thing"]),
        (_melting, ["the motion of 1 curve, text or metaball: {} holds no such thing"]),
        (_spraying, ["the motion of 1 particle system: {} holds no such thing"]),
        (_only_a_path, []),
    ],
)
@pytest.mark.parametrize("target", ["glb", "usdc"])
def test_motion_of_curves_and_particles_is_reported_lost(tmp_path, builder, lost, target):
    report = convert(tmp_path / "c", build(tmp_path, builder), target)
    assert report["losses"] == [clause.format(target) for clause in lost]
    assert convert(tmp_path / "d", tmp_path / "source.blend", target, animation=False)["losses"] == []
