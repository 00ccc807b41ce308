"""Results are valid VRM avatars and VRM animations, and reports name what those cannot hold."""

import struct

import bpy
import pytest
from helpers import build, convert, in_child, result
from humans import PARTS, RIGS, person, skeleton
from meshgate_engine.errors import ConversionError
from meshgate_engine.formats import glb_container
from models import BOUNDS, material, picture, skinned_figure

pytestmark = pytest.mark.usefixtures("vrm_addon")


def approximately(bounds):
    return {end: pytest.approx(bounds[end], abs=1e-3) for end in ("min", "max")}


def test_a_model_becomes_an_avatar(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, person), "vrm")
    document, _ = glb_container.load(result(tmp_path / "c", "vrm"))
    vrm = document["extensions"]["VRMC_vrm"]
    hips = vrm["humanoid"]["humanBones"]["hips"]["node"]
    assert document["nodes"][hips]["name"] == "mixamorig:Hips"
    assert vrm["expressions"]["preset"]["blink"]["morphTargetBinds"]
    assert vrm["meta"]["authors"] == ["unknown"]
    assert any("licence" in warning for warning in report["warnings"])
    output = report["output"]
    assert (output["humanoid"], output["skins"], output["blend_shapes"], output["clips"]) == (True, 1, 1, [])
    assert output["bones"] == report["input"]["bones"]
    assert output["bounds_m"] == approximately(BOUNDS)


def _coloured_person():
    person()
    body = bpy.data.objects["Body"].data
    body.materials.append(material("Skin"))
    for value in body.color_attributes.new("Col", "FLOAT_COLOR", "POINT").data:
        value.color = (1.0, 0.0, 0.0, 1.0)


def test_vrm_adds_no_vertex_colours(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _coloured_person), "vrm")
    assert report["input"]["vertex_colours"] == report["output"]["vertex_colours"] == 1
    document, buffer = glb_container.load(result(tmp_path / "c", "vrm"))
    (primitive,) = document["meshes"][0]["primitives"]
    colours = document["accessors"][primitive["attributes"]["COLOR_0"]]
    start = document["bufferViews"][colours["bufferView"]]["byteOffset"]
    assert (colours["componentType"], colours["type"]) == (5123, "VEC4")
    assert struct.unpack_from("<4H", buffer, start) == (65535, 0, 0, 65535)


def _toon_person():
    person()
    made = material("Skin", picture())
    bpy.data.objects["Body"].data.materials.append(made)
    toon = made.vrm_addon_extension.mtoon1
    toon.enabled = True
    toon.pbr_metallic_roughness.base_color_texture.index.source = bpy.data.images["skin.png"]
    toon.pbr_metallic_roughness.base_color_factor = (0.75, 0.5, 0.25, 1.0)


@pytest.mark.parametrize("target", ["fbx", "obj", "usda"])
def test_the_tint_of_a_toon_material_is_kept(tmp_path, target):
    convert(tmp_path / "a", build(tmp_path, _toon_person), "vrm")
    report = convert(tmp_path / "b", result(tmp_path / "a", "vrm"), target)
    assert report["output"]["textures"] == 1
    both = f"the colour that tints 1 texture came out beside it: not every reader of {target} multiplies them"
    assert report["warnings"] == ([] if target == "usda" else [both])
    if target == "obj":
        assert "Kd 0.750000 0.500000 0.250000" in (tmp_path / "b/out/model.mtl").read_text()
    if target == "usda":
        assert "inputs:scale = (0.75, 0.5, 0.25, 1)" in (tmp_path / "b/out/model.usda").read_text()


def test_an_avatar_keeps_its_settings(tmp_path):
    convert(tmp_path / "a", build(tmp_path, person), "vrm")
    first = result(tmp_path / "a", "vrm")
    document, buffer = glb_container.load(first)
    document["extensions"]["VRMC_vrm"]["meta"]["authors"] = ["Somebody"]
    document["extensions"]["VRMC_vrm"]["meta"]["allowRedistribution"] = True
    glb_container.save(first, document, buffer)
    report = convert(tmp_path / "b", first, "vrm")
    assert report["warnings"] == []
    after = glb_container.load(result(tmp_path / "b", "vrm"))[0]["extensions"]["VRMC_vrm"]
    assert after["meta"]["authors"] == ["Somebody"]
    assert after["meta"]["allowRedistribution"] is True
    assert set(after["humanoid"]["humanBones"]) == set(document["extensions"]["VRMC_vrm"]["humanoid"]["humanBones"])
    assert report["output"]["bounds_m"] == approximately(BOUNDS)


def test_a_skeleton_that_is_not_human_is_refused(tmp_path):
    with pytest.raises(ConversionError) as caught:
        convert(tmp_path / "c", build(tmp_path, skinned_figure), "vrm")
    assert caught.value.code == "not_humanoid"
    assert "left foot" in caught.value.detail


def _nameless():
    RIGS["nameless"] = {part: f"b{index:02}" for index, part in enumerate(PARTS)}
    person("nameless")


def test_a_guessed_mapping_is_a_warning(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _nameless), "vrm")
    assert report["output"]["humanoid"]
    assert report["warnings"][0].startswith("the human bones were guessed")


def _still():
    skeleton({"hips": "Hips"})


@pytest.mark.parametrize("target", ["vrma", "bvh"])
def test_a_model_without_clips_fails_with_no_animation(tmp_path, target):
    with pytest.raises(ConversionError) as caught:
        convert(tmp_path / "c", build(tmp_path, _still), target)
    assert (caught.value.code, caught.value.detail) == ("no_animation", "the model has no animation")


@pytest.mark.parametrize("source", ["blend", "fbx", "glb"])
def test_one_clip_becomes_a_vrm_animation(tmp_path, source):
    report = convert(tmp_path / "c", build(tmp_path, person, f"source.{source}"), "vrma")
    document, _ = glb_container.load(result(tmp_path / "c", "vrma"))
    assert "hips" in document["extensions"]["VRMC_vrm_animation"]["humanoid"]["humanBones"]
    (clip,) = report["output"]["clips"]
    assert clip in report["input"]["clips"]
    (loss,) = report["losses"]
    other = {"Nod", "Walk"} - {clip["name"]}
    assert loss == f"1 of 2 clips ({other.pop()}): vrma holds one"
    assert report["output"]["humanoid"]


def test_bvh_survives_a_round_trip_through_vrma(tmp_path):
    convert(tmp_path / "a", build(tmp_path, lambda: person("motion capture")), "bvh")
    first = convert(tmp_path / "b", result(tmp_path / "a", "bvh"), "vrma")
    back = convert(tmp_path / "c", result(tmp_path / "b", "vrma"), "bvh")
    frames = [report["output"]["clips"][0]["frames"] for report in (first, back)]
    assert frames == [31, 31]
    assert back["output"]["clips"][0]["fps"] == pytest.approx(30, rel=1e-5)
    glb_report = convert(tmp_path / "d", result(tmp_path / "b", "vrma"), "glb")
    assert glb_report["output"]["clips"][0]["frames"] == 31


@pytest.mark.parametrize("change", ["extension", "animations", "hips"])
def test_a_damaged_vrm_animation_fails_with_one_sentence(tmp_path, change):
    convert(tmp_path / "a", build(tmp_path, person), "vrma", read_back=False)
    path = result(tmp_path / "a", "vrma")
    document, buffer = glb_container.load(path)
    if change == "extension":
        del document["extensions"]
    elif change == "animations":
        del document["animations"]
    else:
        document["extensions"]["VRMC_vrm_animation"]["humanoid"]["humanBones"]["hips"]["node"] = 4_000_000_000
    glb_container.save(path, document, buffer)
    with pytest.raises(ConversionError) as caught:
        convert(tmp_path / "b", path, "glb")
    assert caught.value.code == ("no_animation" if change == "animations" else "import_failed")
    assert "\n" not in caught.value.detail


def test_lost_expressions_of_a_vrm_animation_are_named(tmp_path):
    convert(tmp_path / "a", build(tmp_path, person), "vrma", read_back=False)
    path = result(tmp_path / "a", "vrma")
    document, buffer = glb_container.load(path)
    document["nodes"].append({"name": "happy"})
    happy = {"happy": {"node": len(document["nodes"]) - 1}}
    document["extensions"]["VRMC_vrm_animation"]["expressions"] = {"preset": happy}
    glb_container.save(path, document, buffer)
    report = convert(tmp_path / "b", path, "fbx")
    assert report["losses"] == ["expressions: only the motion of the bones is converted"]


def _odd_rate():
    person("motion capture")
    bpy.context.scene.render.fps_base = 1.001


@pytest.mark.parametrize("between", ["vrma", "fbx"])
def test_fractional_frame_rates_are_kept(tmp_path, between):
    convert(tmp_path / "a", build(tmp_path, _odd_rate), "bvh")
    first = convert(tmp_path / "b", result(tmp_path / "a", "bvh"), between)
    back = convert(tmp_path / "c", result(tmp_path / "b", between), "bvh")
    for report in (first, back):
        (clip,) = report["output"]["clips"]
        assert (clip["frames"], clip["fps"]) == (31, pytest.approx(30 / 1.001, rel=1e-5))


@pytest.mark.parametrize("frame_time", ["1", "0.1", "0.002"])
def test_vrma_keeps_the_frames_of_slow_and_fast_motion(tmp_path, frame_time):
    convert(tmp_path / "a", build(tmp_path, lambda: person("motion capture")), "bvh", read_back=False)
    head, _, rows = result(tmp_path / "a", "bvh").read_text().partition("Frame Time: ")
    source = tmp_path / "take.bvh"
    source.write_text(f"{head}Frame Time: {frame_time}\n{rows.partition(chr(10))[2]}")
    convert(tmp_path / "b", source, "vrma", read_back=False)
    report = convert(tmp_path / "c", result(tmp_path / "b", "vrma"), "bvh")
    for clips in (report["input"]["clips"], report["output"]["clips"]):
        assert [(clip["frames"], clip["fps"]) for clip in clips] == [(31, pytest.approx(1 / float(frame_time)))]


def _lookups(folder, source) -> int:
    """How often the add-on builds its table of human bones in a conversion to vrma."""
    import os

    from helpers import OPTIONS
    from io_scene_vrm.editor.vrm1.property_group import Vrm1HumanBonesPropertyGroup as Group
    from meshgate_engine import conversion

    usual, calls = Group.human_bone_name_to_human_bone, []
    Group.human_bone_name_to_human_bone = lambda group: calls.append(1) or usual(group)
    for name in ("out", "tmp"):
        (folder / name).mkdir(parents=True)
    os.chdir(folder)
    task = {"input": str(source), "input_format": "bvh", "output": "out/model.vrma", "output_format": "vrma"}
    conversion.run(
        {**task, "options": OPTIONS, "read_back": False, "importer": "usual", "most_triangles": None}, lambda *_: None
    )
    return len(calls)


def test_bones_are_not_looked_up_in_each_frame(tmp_path):
    convert(tmp_path / "a", build(tmp_path, lambda: person("motion capture")), "bvh")
    short = result(tmp_path / "a", "bvh")
    head, _, motion = short.read_text().partition("Frames: 31\n")
    rate, _, rows = motion.partition("\n")
    long = tmp_path / "long.bvh"
    long.write_text(f"{head}Frames: 310\n{rate}\n{rows * 10}")
    counts = [in_child(_lookups, tmp_path / path.stem, path) for path in (short, long)]
    assert counts[0] == counts[1]
    assert glb_container.load(tmp_path / "long/out/model.vrma")[0]["accessors"][0]["count"] == 310
