"""Options, names, clips and errors of conversions with the real engine."""

import json
import re
import struct

import bpy
import pytest
from helpers import build, convert, in_child
from meshgate_engine import formats
from meshgate_engine.errors import ConversionError
from meshgate_engine.formats import glb_container
from models import box, figure, lively_figure, material, picture, skinned_figure


def names(clips):
    return sorted((clip["name"], clip["frames"]) for clip in clips)


@pytest.mark.parametrize("target", ["glb", "fbx", "blend"])
def test_all_clips_keep_names_and_lengths(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, lively_figure), target)
    assert names(report["input"]["clips"]) == [("Nod", 31), ("Walk", 16)]
    assert report["output"]["clips"] == report["input"]["clips"]
    assert report["output"]["clips"][0]["fps"] == 30


def test_the_log_has_the_time_of_each_step(tmp_path, capfd):
    convert(tmp_path / "c", build(tmp_path, lively_figure), "glb")
    *_, last = capfd.readouterr().out.strip().splitlines()
    assert re.fullmatch(r"steps in ms:( [a-zA-Z_]+=[0-9]+)+", last)
    assert {"read_the_file", "write_the_file"} <= set(re.findall(r"(\w+)=", last))


@pytest.mark.parametrize("target", ["fbx", "glb"])
def test_round_trips_do_not_lengthen_clips(tmp_path, target):
    path = build(tmp_path, lively_figure, f"source.{target}")
    for trip in range(2):
        report = convert(tmp_path / str(trip), path, target)
        path = tmp_path / str(trip) / "out" / f"model.{target}"
    assert names(report["output"]["clips"]) == [("Nod", 31), ("Walk", 16)]
    assert report["output"]["bones"] == 2


@pytest.mark.parametrize("target", ["usda", "usdc", "usdz"])
def test_usd_holds_one_clip_at_its_rate(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, lively_figure), target)
    assert len(report["output"]["clips"]) == 1
    assert report["output"]["clips"][0] in report["input"]["clips"]


def _moving_box() -> None:
    bpy.context.scene.render.fps = 25
    item = box("Box")
    for frame, place in ((1, 0.0), (51, 2.0)):
        item.location.x = place
        item.keyframe_insert("location", frame=frame)
    item.animation_data.action.name = "Slide"


@pytest.mark.parametrize("target", ["usdc", "abc", "fbx", "glb"])
def test_object_animation_is_kept(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _moving_box), target)
    (clip,) = report["output"]["clips"]
    assert (clip["frames"], clip["seconds"], clip["fps"]) == (51, 2.0, 25)


@pytest.mark.parametrize("target", ["glb", "fbx", "usdc", "abc", "blend"])
def test_animation_off_writes_no_clips(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, lively_figure), target, animation=False)
    assert len(report["input"]["clips"]) == 2
    assert report["output"]["clips"] == []
    assert report["output"]["triangles"] == 12


@pytest.mark.parametrize("target", ["fbx", "obj", "usdc", "abc", "ply", "blend"])
@pytest.mark.parametrize("triangulate", [False, True])
def test_triangulate_writes_triangles_only(tmp_path, target, triangulate):
    convert(tmp_path / "c", build(tmp_path, skinned_figure), target, triangulate=triangulate)
    sides = in_child(_sides, str(tmp_path / "c/out" / f"model.{target}"))
    assert sides == ({3} if triangulate else {4})


def _sides(path: str) -> set[int]:
    from meshgate_engine.job import Job

    target = path.rpartition(".")[2]
    formats.module(target).read(Job(path, target, "", ""))
    return {len(polygon.vertices) for mesh in bpy.data.meshes for polygon in mesh.polygons}


@pytest.mark.parametrize("target", ["fbx", "glb", "usdc", "blend"])
def test_conversion_keeps_all_model_features(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, skinned_figure), target)
    same = ("meshes", "triangles", "uv_layers", "vertex_colours", "materials", "textures", "bones", "blend_shapes")
    assert {key: report["output"][key] for key in same} == {key: report["input"][key] for key in same}
    assert report["losses"] == report["warnings"] == []
    assert report["stages"] == ["importing", "processing", "exporting"]


@pytest.mark.parametrize("target", ["obj", "ply"])
def test_conversion_keeps_vertex_colours(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, skinned_figure), target)
    assert report["output"]["vertex_colours"] == 1


def test_glb_adds_no_nodes(tmp_path):
    first = build(tmp_path, lively_figure, "source.glb")
    convert(tmp_path / "c", first, "glb")
    assert sorted(node["name"] for node in glb_container.document(tmp_path / "c/out/model.glb")["nodes"]) == [
        "Body", "High", "Low", "Rig",
    ]  # fmt: skip


def test_draco_compresses_glb(tmp_path):
    source = build(tmp_path, figure)
    report = convert(tmp_path / "c", source, "glb", draco=True)
    assert "KHR_draco_mesh_compression" in glb_container.document(tmp_path / "c/out/model.glb")["extensionsRequired"]
    assert report["output"]["triangles"] == 12


@pytest.mark.parametrize("target", ["usd", "usda", "usdc", "usdz"])
def test_a_single_usd_is_one_file(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, skinned_figure), target, packaging="single")
    assert [path.name for path in (tmp_path / "c/out").rglob("*")] == [f"model.{target}"]
    assert report["output"]["materials"] == report["input"]["materials"] > 0
    textures = 1 if target == "usdz" else 0
    assert (report["input"]["textures"], report["output"]["textures"]) == (1, textures)
    said = [f"1 texture did not come out: a single {target} holds none, a usdz does"]
    assert report["losses"] == ([] if textures else said)
    assert report["output"]["missing_textures"] == []


def test_a_single_obj_is_one_file(tmp_path):
    convert(tmp_path / "c", build(tmp_path, skinned_figure), "obj", packaging="single")
    assert [path.name for path in (tmp_path / "c/out").iterdir()] == ["model.obj"]
    assert b"mtllib" not in (tmp_path / "c/out/model.obj").read_bytes()


@pytest.mark.parametrize("target", ["glb", "fbx", "obj", "usda", "ply", "stl", "abc", "blend"])
def test_names_in_any_script_are_kept(tmp_path, target):
    def named():
        item = box("立方体 one\ntwo")
        item.data.materials.append(material("素材 \n1", picture("肌 テクスチャ.png")))

    report = convert(tmp_path / "c", build(tmp_path, named), target)
    assert report["output"]["triangles"] == 12
    assert report["output"]["materials"] in {0, 1}
    assert report["output"]["missing_textures"] == []


def test_a_point_cloud_becomes_glb_but_not_stl(tmp_path):
    source = tmp_path / "points.ply"
    source.write_text(
        "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
        "end_header\n0 0 0\n1 2 3\n"
    )
    report = convert(tmp_path / "glb", source, "glb")
    assert report["output"]["vertices"] == 2
    with pytest.raises(ConversionError) as failure:
        convert(tmp_path / "stl", source, "stl")
    assert failure.value.code == "empty_model"


def gltf(version: str) -> bytes:
    body = json.dumps({"asset": {"version": version}}).encode()
    return struct.pack("<4sIIII", b"glTF", 2, 20 + len(body), len(body), 0x4E4F534A) + body


def _a_light() -> None:
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("Light", bpy.data.lights.new("Light", "POINT")))


@pytest.mark.parametrize("importer", ["usual", "other"])
def test_both_fbx_importers_read_lights(tmp_path, importer):
    report = convert(tmp_path / "c", build(tmp_path, _a_light, "source.fbx"), "glb", importer=importer)
    assert report["importer"] == {"usual": "wm.fbx_import", "other": "import_scene.fbx"}[importer]
    assert report["input"]["lights"] == report["output"]["lights"] == 1


EMPTY_PLY = b"""ply
format ascii 1.0
element vertex 0
property float x
property float y
property float z
element face 0
property list uchar int vertex_indices
end_header
"""


@pytest.mark.parametrize(
    ("name", "content", "code", "detail"),
    [
        ("a.glb", gltf("2.0"), "empty_model", "the model has no object"),
        ("a.glb", struct.pack("<4sIIII", b"glTF", 1, 22, 2, 0) + b"{}", "import_failed", "glTF 1.0"),
        ("a.gltf", b'{"asset": {"version": "1.0"}}', "import_failed", "glTF 1.0"),
        ("a.glb", b"glTF", "import_failed", ""),
        ("a.gltf", b"[" * 100_000, "import_failed", ""),
        ("a.fbx", b"Kaydara FBX Binary  \x00\x1a\x00", "import_failed", ""),
        ("a.fbx", b"this is no model", "import_failed", ""),
        ("a.fbx", b"; FBX 2.0\nFBXHeaderExtension: {\n FBXVersion: 2000\n}\n", "import_failed", "FBX 2"),
        ("a.obj", b"# nothing\n", "empty_model", ""),
        ("a.stl", b"solid\nendsolid\n", "empty_model", "the model has no triangles"),
        ("a.stl", bytes(84), "empty_model", "the model has no triangles"),
        ("a.stl", b"solid\n facet normal 0 0", "import_failed", ""),
        ("a.ply", b"ply\n", "import_failed", ""),
        ("a.ply", EMPTY_PLY, "empty_model", "the model has no vertices"),
        ("a.ply", EMPTY_PLY.replace(b"vertex 0", b"vertex 9"), "import_failed", ""),
        ("a.usda", b"#usda 1.0\n", "empty_model", ""),
        ("a.usdc", b"PXR-USDC\x00\x00", "import_failed", ""),
        ("a.usdz", b"PK\x03\x04", "import_failed", ""),
        ("a.abc", b"Ogawa\x00\x00", "import_failed", ""),
        ("a.blend", b"BLENDER-v300", "import_failed", ""),
    ],
)
def test_invalid_files_fail_with_one_sentence(tmp_path, name, content, code, detail):
    source = tmp_path / name
    source.write_bytes(content)
    with pytest.raises(ConversionError) as failure:
        convert(tmp_path / "c", source, "glb")
    assert failure.value.code == code
    assert detail in failure.value.detail
    assert "\n" not in failure.value.detail
    assert str(tmp_path) not in failure.value.detail
    assert not failure.value.detail.endswith(".")


@pytest.mark.parametrize("target", ["obj", "stl", "ply", "abc"])
def test_a_model_without_a_mesh_fails(tmp_path, target):
    with pytest.raises(ConversionError) as failure:
        convert(tmp_path / "c", build(tmp_path, _a_light), target)
    assert (failure.value.code, failure.value.detail) == ("empty_model", "the model has no mesh")
