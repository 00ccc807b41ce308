"""Files outside the model are not read; a written .blend runs no code and contains no local folder names."""

from pathlib import Path

import bpy
import pytest
import zstandard
from helpers import build, convert, in_child
from models import figure, material

TRIANGLE = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


def reading(path: str, how: str):
    """A builder of a figure to which geometry nodes add the content of ``path``."""

    def builder():
        figure()
        tree = bpy.data.node_groups.new("Reads", "GeometryNodeTree")
        tree.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
        tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
        kinds = ("NodeGroupInput", "NodeGroupOutput", "GeometryNodeImportOBJ", "GeometryNodeRealizeInstances")
        here, there, importing, realised = (tree.nodes.new(kind) for kind in kinds)
        joined = tree.nodes.new("GeometryNodeJoinGeometry")
        tree.links.new(importing.outputs[0], realised.inputs[0])
        for geometry in (here.outputs[0], realised.outputs[0]):
            tree.links.new(geometry, joined.inputs[0])
        tree.links.new(joined.outputs[0], there.inputs[0])
        if how == "constant":
            importing.inputs["Path"].default_value = path
        else:
            text = tree.nodes.new("FunctionNodeInputString")
            text.string = path
            tree.links.new(text.outputs[0], importing.inputs["Path"])
        bpy.data.objects["Figure"].modifiers.new("Reads", "NODES").node_group = tree

    return builder


@pytest.fixture
def secret(tmp_path) -> Path:
    path = tmp_path / "elsewhere" / "secret.obj"
    path.parent.mkdir()
    path.write_bytes(TRIANGLE)
    return path


@pytest.mark.parametrize("target", ["glb", "usdc", "blend", "stl"])
def test_nodes_read_no_file_outside_the_model(tmp_path, secret, target):
    source = build(tmp_path / "s", reading(str(secret), "constant"), as_blender_does=True)
    report = convert(tmp_path / "c", source, target)
    assert "a file was not found: secret.obj" in report["warnings"]
    assert report["input"]["triangles"] == report["output"]["triangles"] == 12


@pytest.mark.parametrize("target", ["glb", "blend"])
def test_nodes_do_not_read_computed_paths(tmp_path, secret, target):
    source = build(tmp_path / "s", reading(str(secret), "computed"), as_blender_does=True)
    report = convert(tmp_path / "c", source, target)
    assert "1 node reading files: paths that are computed are not followed" in report["losses"]
    assert report["input"]["triangles"] == report["output"]["triangles"] == 12


def test_nodes_read_files_of_the_model(tmp_path, secret):
    source = build(tmp_path / "s", reading("//parts/part.obj", "constant"), as_blender_does=True)
    report = convert(tmp_path / "c", source, "glb", beside={"parts/part.obj": secret})
    assert report["warnings"] == report["losses"] == []
    assert report["output"]["triangles"] == 13


def of_an_image(path: Path, source: str, folder: str | None = None):
    """A builder of a figure with an image of this kind; creates its files in ``path``, but names them in ``folder``."""

    def builder():
        for name in ("skin.png", "skin.1001.png"):
            made = bpy.data.images.new("made", 8, 8)
            made.file_format, made.filepath_raw = "PNG", str(path / name)
            made.save()
            bpy.data.images.remove(made)
        figure()
        image = bpy.data.images.load(str(path / "skin.png"))
        image.source = source
        name = "skin.<UDIM>.png" if source == "TILED" else "skin.png"
        image.filepath_raw = f"{folder or path}/{name}"
        bpy.data.objects["Figure"].data.materials.append(material("Skin", image))

    return builder


@pytest.mark.parametrize("target", ["glb", "usdz", "fbx", "obj", "blend"])
@pytest.mark.parametrize("kind", ["FILE", "SEQUENCE", "MOVIE", "TILED"])
def test_images_outside_the_model_are_not_read(tmp_path, kind, target):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    source = build(tmp_path / "s", of_an_image(folder, kind), as_blender_does=True)
    report = convert(tmp_path / "c", source, target)
    name = "skin.1001.png" if kind == "TILED" else "skin.png"
    assert f"a texture was not found: {name}" in report["warnings"]
    if target == "blend":
        assert (folder / "skin.png").read_bytes() not in plain(tmp_path / "c/out/model.blend")
    else:
        assert not report["output"] or report["output"]["textures"] == 0
        assert list((tmp_path / "c/out").rglob("skin*")) == []


def of_everything(folder: Path):
    """A builder of a scene with every known kind of file reference."""

    def builder():
        figure()
        item = bpy.data.objects["Figure"]
        item.modifiers.new("Cache", "MESH_CACHE").filepath = str(folder / "cache.mdd")
        light = bpy.data.lights.new("Lamp", "POINT")
        light.use_nodes = True
        light.node_tree.nodes.new("ShaderNodeTexIES").filepath = str(folder / "lamp.ies")
        bpy.context.scene.collection.objects.link(bpy.data.objects.new("Lamp", light))
        made = material("Script", None)
        made.node_tree.nodes.new("ShaderNodeScript").filepath = str(folder / "shade.osl")
        item.data.materials.append(made)
        strips = bpy.context.scene.sequence_editor_create().strips
        strips.new_image("Strip", str(folder / "strip.png"), 1, 1)
        bpy.data.volumes.new("Smoke").filepath = str(folder / "smoke.vdb")
        bpy.data.volumes["Smoke"].use_fake_user = True

    return builder


def test_a_result_names_no_file_outside_the_model(tmp_path):
    folder = tmp_path / "elsewhere"
    source = build(tmp_path / "s", of_everything(folder), as_blender_does=True)
    assert str(folder).encode() in plain(source)
    report = convert(tmp_path / "c", source, "blend")
    named = ("cache.mdd", "lamp.ies", "shade.osl", "strip.png", "smoke.vdb")
    assert {f"a file was not found: {name}" for name in named} <= set(report["warnings"])
    assert str(folder).encode() not in plain(tmp_path / "c/out/model.blend")


def running(folder: Path):
    """A builder of a file that writes ``folder/ran-…`` when opened with scripts enabled."""

    def builder():
        figure()
        item = bpy.data.objects["Figure"]
        made = material("Skin", None)
        item.data.materials.append(made)
        key = item.shape_key_add(name="Basis").id_data
        code = f"[open({str(folder)!r} + '/ran-%s', 'w').close(), 1.0][1]"
        places = {
            "object": (item, "location", 0), "mesh": (item.data, '["own"]', -1),
            "tree": (made.node_tree, 'nodes["Principled BSDF"].inputs[1].default_value', -1),
            "key": (key, "eval_time", -1), "scene": (bpy.context.scene, "gravity", 0),
        }  # fmt: skip
        item.data["own"] = 1.0
        for name, (owner, path, index) in places.items():
            driver = owner.driver_add(path, index).driver
            driver.expression = code % name
        item.driver_add("location", 1).driver.expression = "frame * 2 + sin(1)"
        sums = item.driver_add("location", 2).driver
        sums.type = "SUM"
        text = bpy.data.texts.new("start.py")
        text.write(code % "text")
        text.use_module = True
        made.node_tree.nodes.new("ShaderNodeScript").script = bpy.data.texts.new("shade.osl")
        lines = bpy.context.view_layer.freestyle_settings.modules.new()
        lines.script = text

    return builder


def _opened(path: Path) -> tuple:
    """The content of a file after opening it with scripts enabled."""
    bpy.app.driver_namespace["open"] = open
    bpy.ops.wm.open_mainfile(filepath=str(path), load_ui=False, use_scripts=True)
    bpy.context.scene.frame_set(2)
    item = bpy.data.objects["Figure"]
    drivers = [curve.driver.expression for curve in item.animation_data.drivers if curve.driver.type == "SCRIPTED"]
    kinds = [curve.driver.type for curve in item.animation_data.drivers]
    texts = {text.name: (text.use_module, bool(text.as_string())) for text in bpy.data.texts}
    lines = len(bpy.context.view_layer.freestyle_settings.modules)
    return drivers, kinds, texts, lines


def test_opening_a_result_runs_no_code(tmp_path):
    traces = tmp_path / "traces"
    traces.mkdir()
    source = build(tmp_path / "s", running(traces), as_blender_does=True)

    def cleaned() -> set[str]:
        found = {path.name for path in traces.glob("ran-*")}
        for path in traces.glob("ran-*"):
            path.unlink()
        return found

    cleaned()
    in_child(_opened, source)
    # With scripts enabled, the source does run its code.
    assert {"ran-object", "ran-tree", "ran-text"} <= cleaned()
    report = convert(tmp_path / "c", source, "blend")
    assert cleaned() == set()
    drivers, kinds, texts, lines = in_child(_opened, tmp_path / "c/out/model.blend")
    assert cleaned() == set()
    assert drivers == ["frame * 2 + sin(1)"]
    assert sorted(kinds) == ["SCRIPTED", "SUM"]
    assert texts["start.py"] == (False, True)
    assert lines == 0
    assert [loss.split(":")[0] for loss in report["losses"]] == [
        "5 drivers that would run Python", "the mark of 1 text to run when the file is opened", "1 script node",
        "1 Freestyle module",
    ]  # fmt: skip


def test_linked_libraries_are_embedded_in_the_result(tmp_path):
    traces = tmp_path / "traces"
    traces.mkdir()
    library = build(tmp_path / "s", running(traces), "library.blend", as_blender_does=True)

    def linking():
        with bpy.data.libraries.load(str(library), link=True) as (_there, here):
            here.objects = ["Figure"]
        bpy.data.libraries[0].filepath = "//library.blend"
        bpy.context.scene.collection.objects.link(here.objects[0])

    source = build(tmp_path / "s", linking, as_blender_does=True)
    report = convert(tmp_path / "c", source, "blend", beside={"library.blend": library})
    assert report["input"]["triangles"] == report["output"]["triangles"] == 12
    alone = tmp_path / "alone.blend"
    alone.write_bytes((tmp_path / "c/out/model.blend").read_bytes())
    for path in traces.glob("ran-*"):
        path.unlink()
    drivers = in_child(_opened, alone)[0]
    assert drivers == ["frame * 2 + sin(1)"]
    assert list(traces.glob("ran-*")) == []
    assert b"library.blend" not in plain(alone)


def _beside(folder: Path, kind: str) -> tuple[Path, dict[str, Path]]:
    """A file that refers to an image, and the files beside it by name."""
    folder.mkdir()
    source = build(folder, of_an_image(folder, kind, "/"), as_blender_does=True)
    return source, {path.name: path for path in folder.glob("*.png")}


@pytest.mark.parametrize("kind", ["FILE", "SEQUENCE", "MOVIE", "TILED"])
def test_a_result_names_no_local_folder(tmp_path, kind):
    source, beside = _beside(tmp_path / "s", kind)
    report = convert(tmp_path / "c", source, "blend", beside=beside)
    content = plain(tmp_path / "c/out/model.blend")
    # Not even the end of the folder's path.
    assert tmp_path.name.encode() not in content and b"/c/in/" not in content
    assert b"skin" in content
    if kind in {"SEQUENCE", "MOVIE"}:
        assert any("a .blend cannot hold" in loss for loss in report["losses"])
    else:
        assert report["losses"] == []


@pytest.mark.parametrize("between", ["fbx", "glb", "usdz", "usdc", "obj", "abc"])
def test_a_result_from_another_format_names_no_local_folder(tmp_path, between):
    first, images = _beside(tmp_path / "s", "FILE")
    convert(tmp_path / "b", first, between, beside=images)
    made = tmp_path / "b" / "out"
    beside = {str(path.relative_to(made)): path for path in made.rglob("*") if path.is_file()}
    convert(tmp_path / "c", made / f"model.{between}", "blend", beside=beside)
    assert tmp_path.name.encode() not in plain(tmp_path / "c/out/model.blend")


def plain(path: Path) -> bytes:
    """The bytes of a .blend, unpacked."""
    content = path.read_bytes()
    if content.startswith(b"BLENDER"):
        return content
    return zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True).read()
