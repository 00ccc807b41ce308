"""BVH keeps frames, frame time and values, and is upright in every format."""

import bpy
import pytest
from bvh_models import HEAD, flat, parts, write_bvh
from helpers import build, convert, in_child
from humans import person
from meshgate_engine.errors import ConversionError
from models import clip, lively_figure


def test_bvh_to_bvh_keeps_all_values(tmp_path):
    source = write_bvh(tmp_path)
    report = convert(tmp_path / "c", source, "bvh")
    before, after = parts(source), parts(tmp_path / "c" / "out" / "model.bvh")
    assert flat(after[0]) == pytest.approx(flat(before[0]), abs=1e-3)
    assert after[1] == before[1] == 0.0083333
    assert flat(after[2]) == pytest.approx(flat(before[2]), abs=1e-2)
    assert report["warnings"] == ["a bvh file has no unit: it was taken as centimetres"]


@pytest.mark.parametrize("between", ["glb", "fbx", "blend", "usdc"])
@pytest.mark.parametrize("frame_time", ["0.0083333", "0.01", "0.0333667"])
def test_other_formats_keep_frames_and_frame_time(tmp_path, between, frame_time):
    source = write_bvh(tmp_path, frame_time=frame_time)
    convert(tmp_path / "a", source, between, read_back=False)
    convert(tmp_path / "b", tmp_path / "a" / "out" / f"model.{between}", "bvh", read_back=False)
    offsets, seconds, rows = parts(tmp_path / "b" / "out" / "model.bvh")
    assert len(rows) == 300
    assert seconds == pytest.approx(float(frame_time), rel=1e-4)
    # In metres, y up, walking towards +z.
    assert offsets[0] == pytest.approx([0, 0.9, 0], abs=1e-3)
    assert rows[100][:3] == pytest.approx([0, 0.9, 1.0], abs=1e-3)


def test_metres_stay_metres(tmp_path):
    source = write_bvh(tmp_path, unit=1)
    report = convert(tmp_path / "c", source, "bvh")
    assert parts(tmp_path / "c" / "out" / "model.bvh")[0][0] == pytest.approx([0, 0.9, 0], abs=1e-4)
    assert report["warnings"] == []


@pytest.mark.parametrize("motion", ["", "MOTION\n", "MOTION\nFrames: 0\nFrame Time: 0.01\n"])
def test_a_bvh_without_motion_fails_with_no_animation(tmp_path, motion):
    path = tmp_path / "still.bvh"
    path.write_text(HEAD.format(hips=90, spine=45, nose=10) + motion)
    with pytest.raises(ConversionError) as caught:
        convert(tmp_path / "c", path, "glb")
    assert (caught.value.code, caught.value.detail) == ("no_animation", "the model has no animation")


@pytest.mark.parametrize("content", ["hello", "HIERARCHY\nROOT Hips\n{\nMOTION\nFrames: 1\nFrame Time: 0.1\n1 2\n"])
def test_invalid_bvh_text_fails_with_import_failed(tmp_path, content):
    path = tmp_path / "odd.bvh"
    path.write_text(content)
    with pytest.raises(ConversionError) as caught:
        convert(tmp_path / "c", path, "glb")
    assert caught.value.code == "import_failed"


@pytest.mark.parametrize("announced", [12, 7])
@pytest.mark.parametrize("target", ["glb", "bvh"])
def test_a_wrong_frame_count_gives_a_warning(tmp_path, announced, target):
    source = write_bvh(tmp_path, frames=10, head=f"Frames: {announced}", unit=1)
    report = convert(tmp_path / "c", source, target)
    assert report["input"]["clips"][0]["frames"] == 10
    assert report["output"]["clips"][0]["frames"] == 10
    assert report["warnings"] == [f"the file announces {announced} frames and holds 10"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_truncated_last_frame_is_dropped_with_a_warning(tmp_path, line_end):
    whole = write_bvh(tmp_path, frames=10, unit=1)
    source = tmp_path / "cut" / "take.bvh"
    source.parent.mkdir()
    source.write_bytes(whole.read_text().rstrip()[:-6].replace("\n", line_end).encode())
    report = convert(tmp_path / "c", source, "bvh")
    assert report["warnings"] == [
        "the last frame of the file is cut off in the middle and was left out",
        "the file announces 10 frames and holds 9",
    ]
    rows = parts(tmp_path / "c" / "out" / "model.bvh")[2]
    assert flat(rows) == pytest.approx(flat(parts(whole)[2][:9]), abs=1e-2)


def _two_clips() -> None:
    data = bpy.data.armatures.new("Rig")
    rig = bpy.data.objects.new("Rig", data)
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    bone = data.edit_bones.new("Bone")
    bone.head, bone.tail = (0, 0, 0), (0, 0, 1.8)
    bpy.ops.object.mode_set(mode="OBJECT")
    rig.animation_data_create()
    for name, last in (("Nod", 11), ("Walk", 21)):
        rig.animation_data.action = bpy.data.actions.new(name)
        rig.animation_data.action.use_fake_user = True
        for frame in (1, last):
            rig.pose.bones[0].location = (0, frame / 10, 0)
            rig.pose.bones[0].keyframe_insert("location", frame=frame)


def test_bvh_holds_one_clip_and_reports_the_others(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _two_clips), "bvh")
    assert report["losses"] == ["1 of 2 clips (Nod): bvh holds one"]
    assert report["output"]["clips"][0]["frames"] == 21


def _two_rigs() -> None:
    lively_figure()
    data = bpy.data.armatures.new("Other")
    other = bpy.data.objects.new("Other", data)
    bpy.context.scene.collection.objects.link(other)
    bpy.context.view_layer.objects.active = other
    bpy.ops.object.mode_set(mode="EDIT")
    data.edit_bones.new("High").tail = (0, 0, 1)
    bpy.ops.object.mode_set(mode="OBJECT")
    for name in ("Hop", "Skip"):
        clip(other, name, 11).use_fake_user = True


def test_clips_of_other_skeletons_are_reported_lost(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _two_rigs), "bvh")
    assert len(report["input"]["clips"]) == 4
    assert report["losses"] == ["3 of 4 clips (Hop, Nod, Skip): bvh holds one"]
    assert report["output"]["clips"][0]["frames"] == 16


def _two_roots() -> None:
    data = bpy.data.armatures.new("Rig")
    rig = bpy.data.objects.new("Rig", data)
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for name, x in (("Left", -0.5), ("Right", 0.5)):
        low = data.edit_bones.new(name)
        low.head, low.tail = (x, 0, 0), (x, 0, 0.9)
        high = data.edit_bones.new(f"{name}Top")
        high.head, high.tail, high.parent = (x, 0, 0.9), (x, 0, 1.8), low
    bpy.ops.object.mode_set(mode="OBJECT")
    rig.animation_data_create()
    for frame, place in ((1, 0.0), (11, 0.4)):
        rig.pose.bones["Left"].location = (0, place, 0)
        rig.pose.bones["Left"].keyframe_insert("location", frame=frame)


def _joints(path: str, frame: int) -> dict[str, list[float]]:
    """The heads of the bones, y up, at a frame counted from the clip's first."""
    from meshgate_engine import formats
    from meshgate_engine.animation import clip_playback, clips
    from meshgate_engine.job import Job

    target = path.rpartition(".")[2]
    formats.module(target).read(Job(path, target, "", ""))
    scene = bpy.context.scene
    (take,) = clips.find()
    clip_playback.activate(take)
    scene.frame_set(round(take.start) + frame)
    (rig,) = [item for item in scene.objects if item.type == "ARMATURE"]
    places = {bone.name: rig.matrix_world @ bone.head for bone in rig.pose.bones}
    return {name: [place.x, place.z, -place.y] for name, place in places.items()}


def test_several_root_bones_get_a_common_root(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _two_roots), "bvh")
    path = tmp_path / "c" / "out" / "model.bvh"
    assert path.read_text().count("ROOT") == 1
    assert (report["output"]["bones"], report["losses"]) == (5, [])
    for frame, lift in ((0, 0.0), (10, 0.4)):
        joints = in_child(_joints, str(path), frame)
        assert joints["LeftTop"] == pytest.approx([-0.5, 0.9 + lift, 0], abs=1e-4)
        assert joints["RightTop"] == pytest.approx([0.5, 0.9, 0], abs=1e-4)


def test_fbx_and_bvh_round_trips_keep_the_height(tmp_path):
    source = build(tmp_path, person, "source.fbx")
    convert(tmp_path / "a", source, "bvh")
    convert(tmp_path / "b", tmp_path / "a" / "out" / "model.bvh", "fbx")
    convert(tmp_path / "c", tmp_path / "b" / "out" / "model.fbx", "bvh")
    joints = in_child(_joints, str(tmp_path / "a" / "out" / "model.bvh"), 0)
    again = in_child(_joints, str(tmp_path / "b" / "out" / "model.fbx"), 0)
    assert set(joints) == set(again)
    for name, place in joints.items():
        assert again[name] == pytest.approx(place, abs=1e-4), name
    assert joints["mixamorig_Head" if "mixamorig_Head" in joints else "mixamorig:Head"][1] == pytest.approx(1.57)
    first, second = (parts(tmp_path / trip / "out" / "model.bvh") for trip in "ac")
    assert flat(second[0]) == pytest.approx(flat(first[0]), abs=1e-4)
    assert flat(second[2]) == pytest.approx(flat(first[2]), abs=1e-2)
