"""In every format and frame, bones moved by constraints and drivers have the same pose as in Blender."""

import os
from functools import partial

import bpy
import numpy as np
import pytest
from helpers import build, convert, in_child
from humans import RIGS, skeleton
from models import LAST, box, empty, keys

BONES = ("Upper", "Lower", "Hand", "Thumb")


def _arm() -> bpy.types.Object:
    """A skinned arm along x, off the origin: Upper, Lower, Hand, and Thumb beside; all but Thumb connected."""
    item = box("Skin", (0, -0.1, -0.1), (3, 0.1, 0.1))
    armature = bpy.data.armatures.new("Rig")
    rig = bpy.data.objects.new("Rig", armature)
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    above = None
    for name, head, tail in (
        ("Upper", (0, 0, 0), (1.2, 0.2, 0)),
        ("Lower", (1.2, 0.2, 0), (2.4, 0, 0)),
        ("Hand", (2.4, 0, 0), (3, 0, 0)),
        ("Thumb", (2.5, 0.1, 0), (2.7, 0.3, 0.1)),
    ):
        bone = armature.edit_bones.new(name)
        bone.head, bone.tail, bone.parent = head, tail, above
        bone.use_connect = bool(above) and name != "Thumb"
        above = bone
    bpy.ops.object.mode_set(mode="OBJECT")
    for name, low, high in (("Upper", -1, 1.2), ("Hand", 1.2, 9)):
        group = item.vertex_groups.new(name=name)
        group.add([vertex.index for vertex in item.data.vertices if low <= vertex.co.x < high], 1.0, "REPLACE")
    item.parent = rig
    item.modifiers.new("Armature", "ARMATURE").object = rig
    rig.location, rig.rotation_euler = (0.3, 0.2, 0.1), (0.0, 0.0, 0.4)
    for bone in rig.pose.bones:
        bone.rotation_mode = "XYZ"
    world = bpy.context.scene
    world.frame_start, world.frame_end, world.render.fps = 1, LAST, 30
    return rig


def _reaching() -> bpy.types.Object:
    rig = _arm()
    target = empty("Target", (1.8, 1.5, 0.2))
    constraint = rig.pose.bones["Lower"].constraints.new("IK")
    constraint.target, constraint.chain_count = target, 2
    keys(target, "location", {1: 0.0, 11: 1.5, LAST: -0.5}, 2)
    return rig


def _reaching_with_a_clip() -> None:
    """The arm and its target each have an action; both play together."""
    rig = _reaching()
    keys(rig, 'pose.bones["Hand"].rotation_euler', {1: 0.0, 6: 1.0, LAST: -1.0}, 2)
    keys(rig, 'pose.bones["Thumb"].location', {1: 0.0, LAST: 0.5}, 1)


def _reaching_within() -> None:
    """The arm's target is a bone of the same skeleton, as in most rigs."""
    rig = _arm()
    bpy.ops.object.mode_set(mode="EDIT")
    goal = rig.data.edit_bones.new("Goal")
    goal.head, goal.tail = (1.8, 1.5, 0.2), (1.8, 1.5, 0.5)
    bpy.ops.object.mode_set(mode="OBJECT")
    constraint = rig.pose.bones["Lower"].constraints.new("IK")
    constraint.target, constraint.subtarget, constraint.chain_count = rig, "Goal", 2
    keys(rig, 'pose.bones["Goal"].location', {1: 0.0, 11: 1.5, LAST: -0.5}, 1)


def _copying() -> None:
    rig, lead = _arm(), empty("Lead", (0, 0, 0))
    rig.pose.bones["Lower"].constraints.new("COPY_ROTATION").target = lead
    keys(lead, "rotation_euler", {1: 0.0, LAST: 2.0}, 1)


def _tracking() -> None:
    rig, lead = _arm(), empty("Lead", (4, 1, 0))
    for name, kind in (("Upper", "DAMPED_TRACK"), ("Hand", "TRACK_TO")):
        constraint = rig.pose.bones[name].constraints.new(kind)
        constraint.target, constraint.track_axis = lead, "TRACK_Y"
    keys(lead, "location", {1: -2.0, LAST: 3.0}, 1)


def _stretching() -> None:
    rig, lead = _arm(), empty("Lead", (3, 1, 0))
    rig.pose.bones["Upper"].constraints.new("STRETCH_TO").target = lead
    keys(lead, "location", {1: 1.0, LAST: 2.0}, 1)


def _driven() -> None:
    rig, lead = _arm(), empty("Lead", (0, 0, 0))
    driver = rig.pose.bones["Lower"].driver_add("rotation_euler", 2).driver
    driver.type = "SUM"
    source = driver.variables.new().targets[0]
    source.id, source.data_path = lead, "location.x"
    keys(lead, "location", {1: 0.0, LAST: 1.5})


def _driven_by_the_frame() -> None:
    """A driver moves a bone by the frame number, and there is no action."""
    driver = _arm().pose.bones["Lower"].driver_add("rotation_euler", 2).driver
    driver.type, driver.expression = "SCRIPTED", "frame * 0.05"


def _copied_from_another() -> None:
    """A skeleton whose bones copy those of another one, like a control rig."""
    rig = _arm()
    lead = rig.copy()
    lead.name, lead.data, lead.location = "Controls", rig.data.copy(), (0, 0, 2)
    lead.data.name = "Controls"
    bpy.context.scene.collection.objects.link(lead)
    for bone in rig.pose.bones:
        constraint = bone.constraints.new("COPY_TRANSFORMS")
        constraint.target, constraint.subtarget = lead, bone.name
        constraint.target_space = constraint.owner_space = "LOCAL"
    keys(lead, 'pose.bones["Upper"].rotation_euler', {1: 0.0, LAST: 1.5}, 0)
    keys(lead, 'pose.bones["Lower"].rotation_euler', {1: 0.0, LAST: -0.7}, 2)


def _reaching_for_one_of_two() -> None:
    """The arm's target has two clips, and one bone is posed without keys."""
    rig = _reaching()
    rig.pose.bones["Hand"].rotation_euler.z = 0.8
    keys(bpy.data.objects["Target"], "location", {1: 0.0, 11: -0.8, LAST: 1.0}, 0, name="Sideways")


def _sharing_a_clip() -> None:
    """Three arms share an action; two of them have a target."""
    rig = _reaching()
    keys(rig, 'pose.bones["Hand"].rotation_euler', {1: 0.0, LAST: 1.0}, 2)
    for height in (2, 4):
        other = rig.copy()
        other.name, other.data, other.location = f"Controls {height}", rig.data.copy(), (0, 0, height)
        other.data.name = other.name
        bpy.context.scene.collection.objects.link(other)
    for constraint in list(other.pose.bones["Lower"].constraints):
        other.pose.bones["Lower"].constraints.remove(constraint)


def _on_tracks() -> None:
    """The actions of the arm and its target are on NLA tracks."""
    rig = _reaching()
    keys(rig, 'pose.bones["Hand"].rotation_euler', {1: 0.0, LAST: 1.0}, 2)
    for item in (rig, bpy.data.objects["Target"]):
        data = item.animation_data
        data.nla_tracks.new().strips.new(data.action.name, 1, data.action).action_slot = data.action_slot
        data.action = None


BUILDERS = (
    *(_reaching, _reaching_with_a_clip, _reaching_within, _copying, _tracking, _stretching, _driven),
    *(_driven_by_the_frame, _copied_from_another, _reaching_for_one_of_two, _sharing_a_clip, _on_tracks),
)

# Metres. USD's exporter omits scale changes below 1%.
NEAR = 2e-3
NEAR_WITH_SCALES = {"usdc": 0.03}


def _shown(path: str, clip: str | None = None) -> dict:
    """The positions of bone heads and skin vertices in each frame, in metres."""
    from meshgate_engine import formats
    from meshgate_engine.animation import clip_playback, clips
    from meshgate_engine.job import Job

    target = path.rpartition(".")[2]
    world = bpy.context.scene
    if target == "blend":
        bpy.ops.wm.open_mainfile(filepath=path, load_ui=False, use_scripts=False)
        world, start, end = bpy.context.scene, 1, LAST
        for take in clips.find():
            if take.name == clip:
                clip_playback.play(take, keeping=list(world.objects))
    else:
        formats.module(target).read(Job(path, target, path, target))
        takes = {take.name: take for take in clips.find()}
        if takes:
            take = takes[clip] if clip in takes else next(iter(takes.values()))
            clip_playback.activate(take)
            start, end = round(take.start), round(take.end)
        else:
            start, end = world.frame_start, world.frame_end
    heads, corners = [], []
    for frame in range(start, end + 1):
        world.frame_set(frame)
        graph = bpy.context.evaluated_depsgraph_get()
        shown = {item.name: item for item in graph.objects}
        rigs = [item for item in shown.values() if item.type == "ARMATURE"]
        rig = next((item for item in rigs if not item.name.startswith("Controls")), None)
        skin = next((item for item in shown.values() if item.type == "MESH"), None)
        if rig is not None:
            heads.append([list(rig.matrix_world @ rig.pose.bones[name].head) for name in BONES])
        if skin is not None:
            places = np.array([skin.matrix_world @ vertex.co for vertex in skin.data.vertices])
            corners.append([places.min(axis=0).tolist(), places.max(axis=0).tolist()])
    return {"heads": np.array(heads), "corners": np.array(corners)}


# A few builders are enough for formats whose exporters bake the evaluated pose anyway.
PAIRS = [(builder, target) for builder in BUILDERS for target in ("glb", "fbx", "usdc")]
PAIRS += [(builder, target) for builder in BUILDERS[:2] + BUILDERS[-2:] for target in ("abc", "bvh")]


@pytest.mark.parametrize(("builder", "target"), PAIRS)
def test_motion_is_the_same_in_every_format(tmp_path, builder, target):
    source = build(tmp_path, builder)
    report = convert(tmp_path / "c", source, target)
    near = NEAR_WITH_SCALES.get(target, NEAR) if builder == _stretching else NEAR
    names = [each["name"] for each in report["output"]["clips"]]
    for clip in names:
        before = in_child(_shown, str(source), clip)
        assert np.ptp(before["corners"], axis=0).max() > 0.1
        after = in_child(_shown, str(tmp_path / f"c/out/model.{target}"), clip)
        for kind in {"abc": ["corners"], "bvh": ["heads"]}.get(target, ["heads", "corners"]):
            assert after[kind].shape == before[kind].shape, (clip, kind, after[kind].shape)
            away = np.abs(after[kind] - before[kind]).max()
            assert away < near, (clip, kind, away)
    if target in {"glb", "fbx"}:
        assert names == ([each["name"] for each in report["input"]["clips"]] or ["Animation"])
    assert len(names) >= 1
    assert [loss for loss in report["losses"] if " clips" not in loss] == []
    assert [said for said in report["warnings"] if "box at the clip's first frame" not in said] == []


def _human(within: bool) -> None:
    rig = skeleton(RIGS["unity"])
    world = bpy.context.scene
    world.frame_start, world.frame_end, world.render.fps = 1, LAST, 30
    goal = rig
    if within:
        bpy.ops.object.mode_set(mode="EDIT")
        bone = rig.data.edit_bones.new("Goal")
        bone.head, bone.tail = (0.6, -0.2, 1.3), (0.6, -0.2, 1.4)
        bpy.ops.object.mode_set(mode="OBJECT")
        keys(rig, 'pose.bones["Goal"].location', {1: 0.0, LAST: 0.3}, 1)
    else:
        goal = empty("Target", (0.6, -0.2, 1.3))
        keys(goal, "location", {1: 1.3, LAST: 1.6}, 2)
    constraint = rig.pose.bones[RIGS["unity"]["leftLowerArm"]].constraints.new("IK")
    constraint.target, constraint.subtarget, constraint.chain_count = goal, "Goal" if within else "", 2


def _arms(path: str) -> np.ndarray:
    from meshgate_engine import formats
    from meshgate_engine.animation import clips
    from meshgate_engine.job import Job

    target = path.rpartition(".")[2]
    os.chdir(os.path.dirname(path))
    formats.module(target).read(Job(path, target, path, "blend"))
    world = bpy.context.scene
    (take,) = clips.find()
    (rig,) = [item for item in world.objects if item.type == "ARMATURE"]
    bones = [rig.pose.bones[RIGS["unity"][name]] for name in ("leftUpperArm", "leftLowerArm", "leftHand", "rightHand")]
    found = []
    for frame in range(round(take.start), round(take.end) + 1):
        world.frame_set(frame)
        found.append([list(rig.matrix_world @ bone.head) for bone in bones])
    return np.array(found)


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.usefixtures("vrm_addon")
def test_vrma_keeps_arm_positions_of_a_model_without_avatar(tmp_path, within):
    source = build(tmp_path, partial(_human, within))
    convert(tmp_path / "c", source, "vrma", read_back=False)
    before, after = in_child(_arms, str(source)), in_child(_arms, str(tmp_path / "c/out/model.vrma"))
    assert np.ptp(before[:, 2], axis=0).max() > 0.1
    assert after == pytest.approx(before, abs=2e-3)
