"""Reports name every loss, and only losses."""

import base64
import json
import struct
from pathlib import Path

import bpy
import pytest
from helpers import build, convert, in_child
from meshgate_engine.errors import ConversionError
from meshgate_engine.formats import glb_container
from models import BOUNDS, box, clip, lively_figure, material, picture, skinned_figure


def _posed() -> None:
    rig = skinned_figure()
    bone = rig.pose.bones["High"]
    bone.rotation_mode, bone.rotation_euler = "XYZ", (0.7, 0.0, 0.0)
    bpy.data.objects["Body"].data.shape_keys.key_blocks["Wide"].value = 1.0


POSED = "the model is posed or has blend shapes set: the result is that shape, bounds_m of the input is at rest"


@pytest.mark.parametrize("target", ["stl", "abc"])
def test_static_results_keep_the_pose(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _posed), target)
    assert report["input"]["bounds_m"] == BOUNDS
    assert report["output"]["bounds_m"]["max"] == pytest.approx([0.8, 1.652780, 0.771006], abs=1e-4)
    assert report["warnings"] == [POSED]


@pytest.mark.parametrize("builder", [skinned_figure, lively_figure])
def test_a_model_at_rest_is_not_reported_as_posed(tmp_path, builder):
    report = convert(tmp_path / "c", build(tmp_path, builder), "stl")
    assert report["output"]["bounds_m"]["max"] == pytest.approx(BOUNDS["max"], abs=1e-4)
    assert report["warnings"] == []


def test_blend_shape_values_outside_of_clips_are_reported(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _posed), "usdc")
    assert report["losses"] == ["the values of blend shapes: usdc holds them in clips only"]


def _two_scenes(path: Path, **shown: int) -> Path:
    """A triangle in each of two scenes, and one in none."""
    corners = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
    document = {
        "asset": {"version": "2.0"},
        **shown,
        "scenes": [{"nodes": [0]}, {"nodes": [1]}],
        "nodes": [
            {"mesh": 0},
            {"mesh": 0, "translation": [5, 0, 0]},
            {"mesh": 0, "translation": [0, 7, 0], "name": "Spare"},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "buffers": [{"byteLength": 36, "uri": "data:;base64," + base64.b64encode(corners).decode()}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0]}
        ],
    }
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("target", ["glb", "fbx", "obj", "usda", "blend", "stl"])
def test_other_scenes_are_reported(tmp_path, target):
    report = convert(tmp_path / "c", _two_scenes(tmp_path / "a.gltf", scene=1), target, read_back=target != "glb")
    if target == "glb":
        document, _buffer = glb_container.load(tmp_path / "c/out/model.glb")
        assert len(document["scenes"]) == 1
        assert [node["translation"] for node in document["nodes"] if "mesh" in node] == [[5, 0, 0]]
    else:
        assert report["output"]["bounds_m"]["min"] == [5, 0, 0]
        assert report["output"]["triangles"] == 1
    assert report["input"]["triangles"] == 1
    assert report["warnings"] == ["hidden objects were left out: Spare"]
    said = ["1 other scene: only the active one is converted"]
    assert [loss for loss in report["losses"] if "scene" in loss] == (said if target != "blend" else [])


def test_without_a_default_scene_all_scenes_are_converted(tmp_path):
    report = convert(tmp_path / "c", _two_scenes(tmp_path / "a.gltf"), "fbx")
    assert report["output"]["triangles"] >= 2
    assert report["losses"] == []


@pytest.mark.parametrize("target", ["fbx", "glb"])
def test_conversion_keeps_a_pose(tmp_path, target):
    report = convert(tmp_path / "a", build(tmp_path, _posed), target)
    assert report["losses"] == report["warnings"] == []
    again = convert(tmp_path / "b", tmp_path / "a/out" / f"model.{target}", "stl")
    assert again["output"]["bounds_m"]["max"] == pytest.approx([0.8, 1.652780, 0.771006], abs=1e-4)


def _begins_bent() -> None:
    rig = skinned_figure()
    bpy.context.scene.render.fps = 30
    action = clip(rig, "Nod", 31)
    for curve in action.layers[0].strips[0].channelbags[0].fcurves:
        curve.keyframe_points[0].co[1] += 0.5


def test_alembic_holds_the_motion_of_a_skin(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _begins_bent), "abc")
    (moving,) = report["output"]["clips"]
    assert (moving["frames"], moving["fps"]) == (31, 30)
    assert report["output"]["bounds_m"] != report["input"]["bounds_m"]
    assert report["warnings"] == ["bounds_m of the result is the box at the clip's first frame: abc holds no rest pose"]


def _coloured(*names: str, kind: str, domain: str) -> None:
    mesh = box("Box").data
    for name in names:
        mesh.color_attributes.new(name, kind, domain)
    for layer in mesh.color_attributes:
        for index, value in enumerate(layer.data):
            point = index if domain == "POINT" else mesh.loops[index].vertex_index
            value.color = (point / 8, 0.5, 0.25, 1.0)


def _coloured_points() -> None:
    _coloured("Col", kind="FLOAT_COLOR", domain="POINT")


def _coloured_corners() -> None:
    """Colours on face corners, as from USD's importer."""
    _coloured("Col", kind="FLOAT_COLOR", domain="CORNER")


def _coloured_twice() -> None:
    _coloured("Col", "More", kind="FLOAT_COLOR", domain="POINT")


def _colours(path: str) -> list:
    from meshgate_engine import formats
    from meshgate_engine.job import Job

    formats.module("abc").read(Job(path, "abc", "", ""))
    (mesh,) = bpy.data.meshes
    return [
        sorted({round(layer.data[loop.index].color[0], 2) for loop in mesh.loops}) for layer in mesh.color_attributes
    ]


@pytest.mark.parametrize(("builder", "count"), [(_coloured_points, 1), (_coloured_corners, 1), (_coloured_twice, 2)])
def test_alembic_holds_vertex_colours(tmp_path, builder, count):
    report = convert(tmp_path / "c", build(tmp_path, builder), "abc")
    assert report["output"]["vertex_colours"] == count
    found = in_child(_colours, str(tmp_path / "c/out/model.abc"))
    assert found == [pytest.approx([index / 8 for index in range(8)], abs=0.02)] * count


def test_alembic_holds_face_corner_colours_from_usd(tmp_path):
    convert(tmp_path / "a", build(tmp_path, _coloured_corners), "usdz")
    report = convert(tmp_path / "b", tmp_path / "a/out/model.usdz", "abc")
    assert report["input"]["vertex_colours"] == report["output"]["vertex_colours"] == 1


def _four_textures(merged: bool) -> None:
    item = box("Box")
    made = material("Metal", picture("colour.png"))
    item.data.materials.append(made)
    tree = made.node_tree
    for name, blue in (("Metallic", 0.3), ("Roughness", 0.6)) if merged else (("Emission Color", 0.3),):
        node = tree.nodes.new("ShaderNodeTexImage")
        node.image = picture(f"{name}.png", blue=blue)
        tree.links.new(node.outputs["Color"], tree.nodes["Principled BSDF"].inputs[name])


def _metal() -> None:
    _four_textures(True)


def _glowing() -> None:
    _four_textures(False)


@pytest.mark.parametrize(("builder", "before", "after", "merged"), [(_metal, 3, 2, 1), (_glowing, 2, 2, 0)])
def test_textures_merged_into_channels_are_counted(tmp_path, builder, before, after, merged):
    report = convert(tmp_path / "c", build(tmp_path, builder), "glb")
    counts = report["input"]["textures"], report["output"]["textures"], report["packed_textures"]
    assert counts == (before, after, merged)
    assert len(report["warnings"]) == merged


def _five_bones() -> None:
    rig = skinned_figure()
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for number in range(4):
        bone = rig.data.edit_bones.new(f"Extra{number}")
        bone.head, bone.tail = (0, number, 0), (0, number, 1)
    bpy.ops.object.mode_set(mode="OBJECT")
    body = bpy.data.objects["Body"]
    for number in range(4):
        body.vertex_groups.new(name=f"Extra{number}").add([0, 1, 2], 0.1, "REPLACE")
    # The group has no bone, so its weights are ignored.
    body.vertex_groups.new(name="Selection").add(range(8), 1.0, "REPLACE")


def test_dropped_bone_weights_are_reported(tmp_path):
    source = build(tmp_path, _five_bones)
    report = convert(tmp_path / "a", source, "glb")
    assert report["losses"] == ["bone weights of 3 vertices: glb is written with the 4 largest of each"]
    assert convert(tmp_path / "b", source, "fbx")["losses"] == []
    assert convert(tmp_path / "c", build(tmp_path / "d", skinned_figure), "glb")["losses"] == []


def _with_an_empty_mesh() -> None:
    box("Box")
    nothing = bpy.data.objects.new("Nothing", bpy.data.meshes.new("Nothing"))
    bpy.context.scene.collection.objects.link(nothing)


@pytest.mark.parametrize("target", ["glb", "obj"])
def test_an_empty_mesh_does_not_count(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _with_an_empty_mesh), target)
    assert report["input"]["meshes"] == 1


def _changes(item: bpy.types.ID, name: str, path: str, values: tuple) -> None:
    for frame, value in zip((1, 25), values, strict=True):
        setattr(item, path, value)
        item.keyframe_insert(path, frame=frame)
    item.animation_data.action.name = name


def _lit() -> None:
    light = bpy.data.objects.new("Lamp", bpy.data.lights.new("Lamp", "POINT"))
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    moving = bpy.data.objects.new("Moving", bpy.data.cameras.new("Moving"))
    for item in (light, camera, moving):
        bpy.context.scene.collection.objects.link(item)
    _changes(box("Box"), "Vanish", "hide_render", (False, True))
    _changes(light.data, "Fade", "energy", (10.0, 100.0))
    _changes(camera.data, "Zoom", "lens", (50.0, 85.0))
    _changes(moving, "Track", "location", ((0, 0, 0), (1, 0, 0)))


def _vanishing() -> None:
    _changes(box("Box"), "Vanish", "hide_render", (False, True))


def test_fbx_drops_clips_of_unsupported_objects(tmp_path):
    report = convert(tmp_path / "a", build(tmp_path, _lit), "fbx")
    assert [clip["name"] for clip in report["input"]["clips"]] == ["Fade", "Track", "Vanish", "Zoom"]
    assert [clip["name"] for clip in report["output"]["clips"]] == ["Track", "Zoom"]
    report = convert(tmp_path / "b", build(tmp_path, _vanishing), "fbx")
    assert (len(report["input"]["clips"]), report["output"]["clips"]) == (1, [])


def _oddly_named() -> None:
    lively_figure()
    bpy.data.actions["Walk"].name = "Run|fast"
    clip(bpy.data.objects["Rig"], "Hop", 11).use_fake_user = True
    bpy.data.objects["Rig"].animation_data.action = bpy.data.actions["Run|fast"]
    bpy.data.objects["Body"].data.shape_keys.animation_data.action = None


@pytest.mark.parametrize(("target", "name"), [("usda", "Run_fast"), ("usdz", "Run_fast"), ("abc", "Animation")])
def test_lost_clips_are_named_if_the_kept_one_is_renamed(tmp_path, target, name):
    report = convert(tmp_path / "c", build(tmp_path, _oddly_named), target)
    assert [(made["name"], made["frames"]) for made in report["output"]["clips"]] == [(name, 16)]
    assert report["losses"] == [f"2 of 3 clips: {target} holds one: without Hop, Nod"]


@pytest.mark.parametrize("target", ["usda", "blend", "glb"])
def test_lost_clips_are_left_to_the_counts_if_names_stay(tmp_path, target):
    assert convert(tmp_path / "c", build(tmp_path, lively_figure), target)["losses"] == []


def _drawing() -> None:
    bpy.ops.object.grease_pencil_add(type="STROKE")


def _all_kinds() -> None:
    box("Box")
    for _ in range(2):
        _drawing()
    bpy.ops.object.pointcloud_random_add()
    bpy.ops.object.curves_random_add()
    bpy.ops.object.speaker_add()
    bpy.context.view_layer.objects.active = box("Head", (5, 0, 0), (6, 1, 1))
    bpy.ops.object.particle_system_add()
    bpy.context.object.particle_systems[0].settings.type = "HAIR"


DRAWINGS = "2 grease pencil drawings: {0} holds none"
POINTS = "1 point cloud: {0} holds none"
HAIR = "1 group of hair curves: {0} holds none"
SPEAKER = "1 speaker: {0} holds none"
PARTICLES = "1 hair particle system: {0} holds none"


@pytest.mark.parametrize(
    ("target", "losses"),
    [
        ("glb", [DRAWINGS, POINTS, HAIR, SPEAKER, PARTICLES]),
        ("fbx", [DRAWINGS, POINTS, HAIR, SPEAKER, PARTICLES]),
        ("obj", [DRAWINGS, POINTS, HAIR, SPEAKER, PARTICLES]),
        ("abc", [DRAWINGS, POINTS, SPEAKER, PARTICLES]),
        ("usda", [DRAWINGS, SPEAKER, PARTICLES]),
        ("blend", []),
    ],
)
def test_lost_objects_are_reported_by_kind(tmp_path, target, losses):
    report = convert(tmp_path / "c", build(tmp_path, _all_kinds), target)
    assert report["losses"] == [clause.format(target) for clause in losses]
    assert report["input"]["materials"] == report["output"]["materials"] == 0
    assert report["output"]["meshes"] == 2


def _hidden_drawing() -> None:
    box("Box")
    _drawing()
    bpy.context.object.hide_viewport = True


def test_a_hidden_drawing_is_left_out_like_other_hidden_objects(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _hidden_drawing), "glb")
    assert (report["losses"], report["warnings"]) == ([], ["hidden objects were left out: Stroke"])


@pytest.mark.parametrize("target", ["glb", "fbx", "usda", "usdz"])
def test_a_model_with_only_unsupported_objects_fails(tmp_path, target):
    with pytest.raises(ConversionError) as raised:
        convert(tmp_path / "c", build(tmp_path, _drawing), target)
    assert raised.value.code == "empty_model"
    assert raised.value.detail == f"the model has nothing that {target} holds"


def _nothing() -> None:
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("Nothing", bpy.data.meshes.new("Nothing")))


def _lattice() -> None:
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("Cage", bpy.data.lattices.new("Cage")))


@pytest.mark.parametrize(
    ("builder", "target"),
    [(_nothing, "obj"), (_nothing, "ply"), (_nothing, "stl"), (_nothing, "abc"), (_lattice, "fbx")],
)
def test_an_empty_result_fails(tmp_path, builder, target):
    with pytest.raises(ConversionError) as raised:
        convert(tmp_path / "c", build(tmp_path, builder), target)
    assert raised.value.code == "empty_model"
