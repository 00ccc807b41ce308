"""Human skeletons are recognised by the bone names of many rigs; other skeletons are refused."""

import bpy
import pytest
from helpers import in_child
from humans import PARTS, RIGS, skeleton
from meshgate_engine.errors import ConversionError
from meshgate_engine.humanoid import bone_mapping


def _assign(names):
    bpy.ops.preferences.addon_enable(module="io_scene_vrm")
    rig = skeleton(names)
    bone_mapping.assign(rig)
    bones = rig.data.vrm_addon_extension.vrm1.humanoid.human_bones
    assert bones.bones_are_correctly_assigned()
    return bone_mapping.assigned(rig)


@pytest.mark.parametrize("rig", RIGS)
def test_rigs_are_recognised_by_name(rig):
    assert in_child(_assign, RIGS[rig]) == RIGS[rig]


def test_missing_bones_are_named():
    names = {part: name for part, name in RIGS["mixamo"].items() if part not in {"leftHand", "head", "neck"}}
    with pytest.raises(ConversionError) as caught:
        in_child(_assign, names)
    assert caught.value.code == "not_humanoid"
    assert caught.value.detail.startswith("the skeleton has no ")
    assert "left hand" in caught.value.detail


def test_a_bone_chain_is_not_humanoid():
    names = {"hips": "Bone", "spine": "Bone.001", "chest": "Bone.002"}
    with pytest.raises(ConversionError) as caught:
        in_child(_assign, names)
    assert caught.value.code == "not_humanoid"
    assert "left upper leg" in caught.value.detail


def _without_names():
    return _assign({part: f"b{index:02}" for index, part in enumerate(PARTS)})


def test_unnamed_bones_are_mapped_by_structure():
    found = in_child(_without_names)
    assert found["hips"] == "b00"
    assert found["leftHand"] == f"b{list(PARTS).index('leftHand'):02}"


def _lying_names():
    bpy.ops.preferences.addon_enable(module="io_scene_vrm")
    names = dict(RIGS["unity"])
    names["leftHand"], names["leftUpperArm"] = names["leftUpperArm"], names["leftHand"]
    return bone_mapping.by_name(skeleton(names).data)


def test_bone_names_that_contradict_the_hierarchy_are_ignored():
    assert "leftHand" not in in_child(_lying_names) or "leftUpperArm" not in in_child(_lying_names)


def _older_assignment():
    bpy.ops.preferences.addon_enable(module="io_scene_vrm")
    names = {part: f"b{index:02}" for index, part in enumerate(PARTS)}
    rig = skeleton(names)
    human = rig.data.vrm_addon_extension.vrm0.humanoid.human_bones
    human.clear()
    for part, bone in names.items():
        entry = human.add()
        entry.bone = part
        entry.node.bone_name = bone
    return bone_mapping.assign(rig), names


def test_the_bone_mapping_of_a_vrm_0_is_kept():
    found, names = in_child(_older_assignment)
    assert found == names
