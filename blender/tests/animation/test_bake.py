"""Every format keeps the motion of objects moved by constraints and drivers, in the clips of their targets."""

import bpy
import pytest
from helpers import build, convert, in_child
from models import box, clip, skinned_figure

MOMENTS = (0.0, 0.5, 1.0)


def _empty(name: str) -> bpy.types.Object:
    item = bpy.data.objects.new(name, None)
    bpy.context.scene.collection.objects.link(item)
    return item


def _keys(item: bpy.types.Object, name: str, last: int, path: str, index: int, end: float) -> None:
    """Makes a clip of the object and assigns it."""
    action = bpy.data.actions.new(name)
    action.use_fake_user = True
    data = item.animation_data or item.animation_data_create()
    data.action = action
    data.action_slot = action.slots.new("OBJECT", item.name)
    curve = action.layers.new("Layer").strips.new(type="KEYFRAME").channelbag(data.action_slot, ensure=True).fcurves
    points = curve.new(path, index=index).keyframe_points
    points.insert(1, 0.0)
    points.insert(last, end)


def _cube(name: str = "Cube") -> bpy.types.Object:
    return box(name, (-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))


def _follower() -> None:
    lead, cube = _empty("Lead"), _cube()
    _keys(lead, "In", 11, "location", 0, 5.0)
    _keys(lead, "Out", 21, "location", 0, -4.0)
    cube.constraints.new("COPY_LOCATION").target = lead


def _weapon() -> None:
    """Cubes on a bone: one by a constraint, one as the bone's child."""
    rig = skinned_figure()
    clip(rig, "Nod", 31).use_fake_user = True
    clip(rig, "Walk", 16).use_fake_user = True
    held = _cube()
    constraint = held.constraints.new("CHILD_OF")
    constraint.target, constraint.subtarget = rig, "High"
    hung = _cube("Hung")
    hung.parent, hung.parent_type, hung.parent_bone = rig, "BONE", "High"
    hung.location.x = 0.5
    hung.constraints.new("LIMIT_SCALE")


def _spinning() -> None:
    """A cube with an action of its own and a constraint."""
    cube = _cube()
    _keys(cube, "Rise", 21, "location", 2, 4.0)
    limit = cube.constraints.new("LIMIT_LOCATION")
    limit.use_max_z, limit.max_z = True, 1.0


def _on_a_path() -> None:
    curve = bpy.data.curves.new("Path", "CURVE")
    curve.dimensions, curve.bevel_depth = "3D", 0.1
    curve.use_path, curve.path_duration = True, 20
    spline = curve.splines.new("POLY")
    spline.points.add(1)
    spline.points[1].co = (6, 0, 0, 1)
    path = bpy.data.objects.new("Path", curve)
    bpy.context.scene.collection.objects.link(path)
    for frame in (1, 21):
        curve.eval_time = frame - 1
        curve.keyframe_insert("eval_time", frame=frame)
    _cube().constraints.new("FOLLOW_PATH").target = path
    bpy.context.scene.frame_start, bpy.context.scene.frame_end = 1, 21


def _driven() -> None:
    lead, cube = _empty("Lead"), _cube()
    _keys(lead, "Go", 21, "location", 0, 5.0)
    driver = cube.driver_add("location", 2).driver
    driver.type = "SUM"
    source = driver.variables.new().targets[0]
    source.id, source.data_path = lead, "location.x"


def _ways(path: str) -> dict:
    """The positions of the cubes at some frames of each clip, in metres."""
    from meshgate_engine import formats
    from meshgate_engine.animation import clip_playback, clips
    from meshgate_engine.job import Job

    target = path.rpartition(".")[2]
    # The target is the file's own format, since other targets would bake the motion on import.
    formats.module(target).read(Job(path, target, path, target))
    world = bpy.context.scene
    takes = clips.find()
    found = {}
    for take in takes or [None]:
        if take:
            clip_playback.activate(take)
        start, end = (take.start, take.end) if take else (world.frame_start, world.frame_end)
        for moment in MOMENTS:
            world.frame_set(round(start + moment * (end - start)))
            graph = bpy.context.evaluated_depsgraph_get()
            for item in graph.objects:
                if item.name in {"Cube", "Hung"}:
                    place = item.matrix_world.translation
                    found.setdefault((take and take.name, item.name), []).append([round(value, 4) for value in place])
    return found


@pytest.mark.parametrize("target", ["glb", "fbx", "usda", "abc"])
@pytest.mark.parametrize("builder", [_follower, _weapon, _spinning, _driven, _on_a_path])
def test_motion_is_the_same_in_every_format(tmp_path, builder, target):
    source = build(tmp_path, builder)
    report = convert(tmp_path / "c", source, target)
    before, after = in_child(_ways, str(source)), in_child(_ways, str(tmp_path / f"c/out/model.{target}"))
    if target in {"glb", "fbx"}:
        assert [each["name"] for each in report["input"]["clips"]] == [
            each["name"] for each in report["output"]["clips"]
        ]
        assert {name or "Animation" for name, _item in before} == {name for name, _item in after}
    assert any(ways[0] != pytest.approx(ways[1], abs=0.1) for ways in before.values())
    for (name, item), ways in after.items():
        # USD and Alembic hold one unnamed clip.
        expected = [before[key] for key in before if key[1] == item and key[0] in {name, None}]
        expected = expected or [ways for key, ways in before.items() if key[1] == item]
        assert any(
            all(place == pytest.approx(was, abs=2e-3) for place, was in zip(ways, other, strict=True))
            for other in expected
        ), (name, item, ways, expected)
    one_clip = f"1 of 2 clips: {target} holds one: without "
    assert [loss for loss in report["losses"] if not loss.startswith(one_clip)] == report["warnings"] == []


def test_usd_holds_the_current_clip(tmp_path):
    source = build(tmp_path, _follower)
    report = convert(tmp_path / "c", source, "usda")
    assert [each["frames"] for each in report["output"]["clips"]] == [21]


def _held_back() -> None:
    cube = _cube()
    cube.location.z = 3.0
    limit = cube.constraints.new("LIMIT_LOCATION")
    limit.use_max_z, limit.max_z = True, 1.0


@pytest.mark.parametrize("target", ["glb", "usda", "stl"])
def test_a_motionless_scene_gets_no_clip(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _held_back), target)
    assert report["input"]["clips"] == report["output"]["clips"] == []
    assert report["output"]["bounds_m"]["max"] == pytest.approx([0.5, 1.5, 0.5], abs=1e-4)


def test_animation_off_writes_a_still_model(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _follower), "glb", animation=False)
    assert report["output"]["clips"] == []
    assert report["output"]["bounds_m"]["max"] == pytest.approx([0.5, 0.5, 0.5], abs=1e-4)


def test_a_blend_keeps_its_constraints(tmp_path):
    convert(tmp_path / "c", build(tmp_path, _follower), "blend")
    assert in_child(_constraints, str(tmp_path / "c/out/model.blend")) == ["COPY_LOCATION"]


def _constraints(path: str) -> list[str]:
    bpy.ops.wm.open_mainfile(filepath=path, load_ui=False, use_scripts=False)
    return [constraint.type for constraint in bpy.data.objects["Cube"].constraints]
