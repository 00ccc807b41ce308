"""A clip plays in every format as in Blender, and the report names its parts that the target cannot hold."""

import bpy
import numpy as np
import pytest
from helpers import build, convert, in_child
from models import LAST, box, clip, empty, keys, material, skinned_figure


def _cube(name: str = "Cube") -> bpy.types.Object:
    world = bpy.context.scene
    world.frame_start, world.frame_end, world.render.fps = 1, LAST, 30
    return box(name, (-0.5, -0.4, -0.3), (0.5, 0.6, 0.7))


def _raised(item: bpy.types.Object) -> bpy.types.ShapeKey:
    item.shape_key_add(name="Basis")
    shape = item.shape_key_add(name="Up")
    for point in shape.data:
        point.co.z += 1
    return shape


def _drive(shape: bpy.types.ShapeKey, source: bpy.types.ID, path: str) -> None:
    driver = shape.driver_add("value").driver
    driver.type = "SUM"
    target = driver.variables.new().targets[0]
    target.id, target.data_path = source, path


def _shape_driven_by_another() -> None:
    lead = empty("Lead", (0, 0, 0))
    _drive(_raised(_cube()), lead, "location.x")
    keys(lead, "location", {1: 0.0, LAST: 1.0})


def _shape_driven_by_a_bone() -> None:
    """A bone drives a blend shape of a mesh that belongs to the skeleton only by its modifier."""
    rig = skinned_figure()
    _cube().hide_viewport = True
    clip(rig, "Nod", LAST)
    body = bpy.data.objects["Body"]
    body.parent = None
    _drive(body.data.shape_keys.key_blocks["Wide"], rig, 'pose.bones["High"].rotation_euler[0]')


def _shape_driven_by_a_driven_bone() -> None:
    """Another object drives the bone that drives a blend shape, so that the bone is baked as well."""
    rig, lead = skinned_figure(), empty("Lead", (0, 0, 0))
    _cube().hide_viewport = True
    bone = rig.pose.bones["High"]
    bone.rotation_mode = "XYZ"
    driver = bone.driver_add("rotation_euler", 0).driver
    driver.type = "SUM"
    target = driver.variables.new().targets[0]
    target.id, target.data_path = lead, "location.x"
    keys(lead, "location", {1: 0.0, LAST: 1.0})
    _drive(bpy.data.objects["Body"].data.shape_keys.key_blocks["Wide"], rig, 'pose.bones["High"].rotation_euler[0]')


def _shape_driven_by_the_frame() -> None:
    """The frame number drives a blend shape, and there is no clip."""
    driver = _raised(_cube()).driver_add("value").driver
    driver.type, driver.expression = "SCRIPTED", "frame * 0.04"


def _posed_without_keys() -> None:
    rig = skinned_figure()
    _cube().hide_viewport = True
    clip(rig, "Nod", LAST)
    bone = rig.pose.bones["Low"]
    bone.rotation_mode, bone.rotation_euler = "XYZ", (0, 0.5, 0)


def _posed_beside_a_clip() -> None:
    """A mesh is posed by a skeleton without clips, beside an object with a clip."""
    rig = skinned_figure()
    bone = rig.pose.bones["Low"]
    bone.rotation_mode, bone.rotation_euler = "XYZ", (0, 0.5, 0)
    keys(_cube("Other"), "location", {1: 0.0, LAST: 2.0})


def _falling() -> None:
    cube, floor = _cube(), box("Floor", (-9, -9, -6), (9, 9, -5))
    bpy.ops.rigidbody.world_add()
    for item, kind in ((cube, "ACTIVE"), (floor, "PASSIVE")):
        bpy.context.view_layer.objects.active = item
        bpy.ops.rigidbody.object_add(type=kind)


BUILDERS = (
    *(_shape_driven_by_another, _shape_driven_by_a_bone, _shape_driven_by_a_driven_bone, _shape_driven_by_the_frame),
    *(_posed_without_keys, _posed_beside_a_clip, _falling),
)


def _shown(path: str, name: str | None = None) -> dict:
    """The extents of each mesh in each frame of a clip, in metres; a .blend is played directly."""
    from meshgate_engine import formats
    from meshgate_engine.animation import clip_playback, clips
    from meshgate_engine.job import Job

    target = path.rpartition(".")[2]
    formats.module(target).read(Job(path, target, path, "blend"))
    world = bpy.context.scene
    start, end = world.frame_start, world.frame_end
    for take in clips.find() if target != "blend" else ():
        if take.name == name:
            clip_playback.activate(take)
            start, end = round(take.start), round(take.end)
    found: dict[str, list] = {}
    for frame in range(start, end + 1):
        world.frame_set(frame)
        graph = bpy.context.evaluated_depsgraph_get()
        for item in [item for item in graph.objects if item.type == "MESH" and item.data.vertices]:
            places = np.array([item.matrix_world @ vertex.co for vertex in item.data.vertices])
            extents = [*places.min(axis=0), *places.max(axis=0), places.mean()]
            found.setdefault(item.name.partition(".")[0], []).append(extents)
    return {item: np.array(extents) for item, extents in found.items()}


def _assert_as_before(tmp_path, source, target, report) -> None:
    before = in_child(_shown, str(source))
    assert max(np.ptp(extents, axis=0).max() for extents in before.values()) > 0.1
    (only,) = report["output"]["clips"]
    after = in_child(_shown, str(tmp_path / f"c/out/model.{target}"), only["name"])
    assert set(after) == set(before)
    for item, extents in after.items():
        assert extents == pytest.approx(before[item], abs=2e-3), item


@pytest.mark.parametrize("target", ["glb", "fbx", "usdc", "abc"])
@pytest.mark.parametrize("builder", BUILDERS)
def test_a_clip_plays_as_in_blender(tmp_path, builder, target):
    source = build(tmp_path, builder)
    report = convert(tmp_path / "c", source, target)
    _assert_as_before(tmp_path, source, target, report)
    assert report["losses"] == []


def _two_that_move() -> None:
    """Two objects with one action each, and an unassigned action."""
    left, right = _cube("Left"), _cube("Right")
    keys(right, "location", {1: 0.0, LAST: -3.0}, 1, name="Not now")
    keys(left, "location", {1: 0.0, LAST: 2.0})
    keys(right, "location", {1: 0.0, LAST: -2.0}, 2, name="RightAction")


@pytest.mark.parametrize("target", ["usdc", "abc"])
def test_simultaneous_clips_become_one_timeline(tmp_path, target):
    source = build(tmp_path, _two_that_move)
    report = convert(tmp_path / "c", source, target)
    _assert_as_before(tmp_path, source, target, report)
    said = f"3 clips: {target} holds one, in which LeftAction, RightAction play together: without Not now"
    assert report["losses"] == [said]


def _on_tracks() -> None:
    cube = _cube()
    for index, name in ((0, "Go"), (2, "Jump")):
        keys(cube, "location", {1: 0.0, LAST: 2.0}, index, name=name)
        data = cube.animation_data
        data.nla_tracks.new().strips.new(name, 1, data.action).action_slot = data.action_slot
        data.action = None


@pytest.mark.parametrize("target", ["glb", "fbx", "usdc", "abc"])
def test_nla_tracks_do_not_change_other_clips(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _on_tracks), target)
    assert not any("strip" in loss for loss in report["losses"])
    names = [each["name"] for each in report["output"]["clips"]]
    assert len(names) == (2 if target in {"glb", "fbx"} else 1)
    for name in names:
        (moved,) = in_child(_shown, str(tmp_path / f"c/out/model.{target}"), name).values()
        along = np.ptp(moved, axis=0)[:3]
        assert along == pytest.approx([0, 0, 2] if name == "Jump" else [2, 0, 0], abs=2e-3), name


def _faster() -> None:
    _on_tracks()
    tracks = bpy.data.objects["Cube"].animation_data.nla_tracks
    tracks[0].strips[0].scale = 0.5
    tracks[1].strips[0].repeat = 2


def _in_a_row() -> None:
    _on_tracks()
    first, second = bpy.data.objects["Cube"].animation_data.nla_tracks
    action = second.strips[0].action
    first.strips.new("Jump", 2 * LAST, action)
    second.mute = True


@pytest.mark.parametrize("builder", [_faster, _in_a_row])
@pytest.mark.parametrize("target", ["glb", "fbx", "usdc"])
def test_lost_nla_strip_settings_are_reported(tmp_path, builder, target):
    report = convert(tmp_path / "c", build(tmp_path, builder), target)
    said = f"how 2 strips of NLA tracks are played: {target} holds each clip as it is"
    assert said in report["losses"]
    assert len(report["losses"]) == (2 if target == "usdc" else 1)


def _light(*, moving: bool) -> None:
    _cube()
    light = bpy.data.lights.new("Lamp", "POINT")
    item = bpy.data.objects.new("Lamp", light)
    bpy.context.scene.collection.objects.link(item)
    for frame, strength in ((1, 10.0), (LAST, 90.0)):
        light.energy, item.location.x = strength, strength / 10
        light.keyframe_insert("energy", frame=frame)
        if moving:
            item.keyframe_insert("location", frame=frame)


def _lamp() -> None:
    _light(moving=True)


def _lamp_that_stands() -> None:
    _light(moving=False)


def _zoom() -> None:
    _cube()
    camera = bpy.data.cameras.new("Camera")
    item = bpy.data.objects.new("Camera", camera)
    bpy.context.scene.collection.objects.link(item)
    for frame, lens in ((1, 20.0), (LAST, 80.0)):
        camera.lens, item.location.x = lens, lens / 10
        camera.keyframe_insert("lens", frame=frame)
        item.keyframe_insert("location", frame=frame)


def _vanishing() -> None:
    cube = _cube()
    for frame, hidden in ((1, False), (LAST, True)):
        cube.hide_render, cube.location.x = hidden, frame
        cube.keyframe_insert("hide_render", frame=frame)
        cube.keyframe_insert("location", frame=frame)
    cube.hide_render = False


def _blushing() -> None:
    cube, made = _cube(), material("Skin")
    cube.data.materials.append(made)
    colour = made.node_tree.nodes["Principled BSDF"].inputs["Base Color"]
    for frame, red in ((1, 0.0), (LAST, 1.0)):
        colour.default_value = (red, 0.5, 0.5, 1.0)
        colour.keyframe_insert("default_value", frame=frame)
    keys(cube, "location", {1: 0.0, LAST: 2.0})


LIGHTS = "the lights' part of 1 clip: {} holds no such motion"
CAMERAS = "the cameras' part of 1 clip: {} holds no such motion"
SHOWN = "what is shown and hidden in 1 clip: {} holds no such motion"
MATERIALS = "the changes of 1 material: {} holds none that change with time"


@pytest.mark.parametrize(
    ("builder", "said", "lacking"),
    [
        (_lamp, LIGHTS, {"glb", "fbx"}),
        (_zoom, CAMERAS, {"glb"}),
        (_vanishing, SHOWN, {"glb", "fbx", "usdc"}),
        (_blushing, MATERIALS, {"glb", "fbx", "usdc"}),
        (_lamp_that_stands, "", set()),
    ],
)
@pytest.mark.parametrize("target", ["glb", "fbx", "usdc", "abc"])
def test_lost_parts_of_clips_are_reported(tmp_path, builder, said, lacking, target):
    report = convert(tmp_path / "c", build(tmp_path, builder), target)
    assert report["losses"] == ([said.format(target)] if target in lacking else [])
    # A clip that is lost entirely shows in the counts.
    assert len(report["output"]["clips"]) == (0 if builder == _lamp_that_stands else 1)


@pytest.mark.parametrize("builder", [_lamp, _blushing])
def test_animation_off_reports_no_lost_clip_parts(tmp_path, builder):
    assert convert(tmp_path / "c", build(tmp_path, builder), "glb", animation=False)["losses"] == []
