"""UDIM textures keep all their tiles, and every face keeps its tile."""

from pathlib import Path

import bpy
import pytest
from helpers import build, convert, in_child
from models import box, material

# The blue value of each tile's picture.
BLUES = {1001: 0.2, 1002: 0.6, 1011: 1.0}


def _tiled(*, packed: bool, missing: int | None = None, in_group: bool = False) -> None:
    """A box whose sides lie on three tiles."""
    for number, blue in BLUES.items():
        if number == missing:
            continue
        made = bpy.data.images.new("tile", 8, 8)
        made.pixels = [0.0, 0.0, blue, 1.0] * 64
        made.file_format, made.filepath_raw = "PNG", str(Path(f"skin.{number}.png").absolute())
        made.save()
        bpy.data.images.remove(made)
    image = bpy.data.images.load(str(Path("skin.<UDIM>.png").absolute()))
    image.source = "TILED"
    for number in BLUES:
        if number not in [tile.number for tile in image.tiles]:
            image.tiles.new(number)
    if packed:
        image.pack()
    else:
        image.filepath_raw = "//skin.<UDIM>.png"
    item = box("Box")
    item.data.materials.append(material("Skin", image))
    if in_group:
        _into_group(item.data.materials[0])
    for loop in item.data.uv_layers[0].data:
        loop.uv = loop.uv * 0.9
    for face, move in ((1, (1, 0)), (2, (1, 0)), (3, (0, 1))):
        for index in item.data.polygons[face].loop_indices:
            item.data.uv_layers[0].data[index].uv.x += move[0]
            item.data.uv_layers[0].data[index].uv.y += move[1]


def _into_group(made: bpy.types.Material) -> None:
    tree = made.node_tree
    old = next(node for node in tree.nodes if node.type == "TEX_IMAGE")
    group = bpy.data.node_groups.new("Group", "ShaderNodeTree")
    group.interface.new_socket("Colour", in_out="OUTPUT", socket_type="NodeSocketColor")
    node = group.nodes.new("ShaderNodeTexImage")
    node.image = old.image
    group.links.new(node.outputs["Color"], group.nodes.new("NodeGroupOutput").inputs[0])
    outer = tree.nodes.new("ShaderNodeGroup")
    outer.node_tree = group
    tree.links.new(outer.outputs[0], tree.nodes["Principled BSDF"].inputs["Base Color"])
    tree.nodes.remove(old)


def _packed() -> None:
    _tiled(packed=True)


def _beside() -> None:
    _tiled(packed=False)


def _one_missing() -> None:
    _tiled(packed=False, missing=1011)


def _in_group() -> None:
    _tiled(packed=True, in_group=True)


def _faces(path: str) -> dict[float, int]:
    """The number of triangles by the blue value of their tile."""
    from meshgate_engine import formats
    from meshgate_engine.job import Job

    kind = path.rpartition(".")[2]
    formats.module(kind).read(Job(path, kind, "", ""))
    found: dict[float, int] = {}
    for item in [item for item in bpy.context.scene.objects if item.type == "MESH"]:
        for face in item.data.polygons:
            nodes = item.data.materials[face.material_index].node_tree.nodes
            image = next((node.image for node in nodes if node.type == "TEX_IMAGE"), None)
            blue = round(image.pixels[2], 1) if image else None
            found[blue] = found.get(blue, 0) + len(face.vertices) - 2
    return found


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    (tmp_path / "s").mkdir()
    monkeypatch.chdir(tmp_path / "s")


def _others(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in (folder / "s").glob("*.png")}


@pytest.mark.parametrize("builder", [_packed, _beside])
@pytest.mark.parametrize("target", ["glb", "fbx", "obj"])
def test_tiles_become_textures(tmp_path, builder, target):
    source = build(tmp_path / "s", builder, as_blender_does=True)
    report = convert(tmp_path / "c", source, target, beside=_others(tmp_path) if builder is _beside else None)
    assert report["losses"] == []
    told = f"the tiles of 1 texture became textures, with a material each: {target} holds no tiles"
    assert report["warnings"] == [told]
    assert (report["output"]["textures"], report["output"]["materials"]) == (3, 3)
    assert in_child(_faces, str(tmp_path / f"c/out/model.{target}")) == {0.2: 6, 0.6: 4, 1.0: 2}


def test_tiles_of_usd_become_textures(tmp_path):
    convert(tmp_path / "a", build(tmp_path / "s", _packed), "usdz")
    report = convert(tmp_path / "b", tmp_path / "a/out/model.usdz", "glb")
    assert in_child(_faces, str(tmp_path / "b/out/model.glb")) == {0.2: 6, 0.6: 4, 1.0: 2}
    assert report["output"]["textures"] == 3


def test_a_missing_tile_is_named(tmp_path):
    report = convert(
        tmp_path / "c", build(tmp_path / "s", _one_missing, as_blender_does=True), "glb", beside=_others(tmp_path)
    )
    assert report["warnings"][0] == "a texture was not found: skin.1011.png"
    assert in_child(_faces, str(tmp_path / "c/out/model.glb")) == {0.2: 6, 0.6: 4, None: 2}


def test_tiles_outside_the_model_are_never_read(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path / "s", _beside, as_blender_does=True), "glb")
    assert [warning for warning in report["warnings"] if "not found" in warning] == [
        f"a texture was not found: skin.{number}.png" for number in BLUES
    ]
    assert report["output"]["textures"] == 0


def test_tiles_in_a_node_group_become_the_first_tile(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path / "s", _in_group), "glb")
    assert report["losses"] == ["all tiles but the first of 1 texture: glb holds no tiles"]
    assert in_child(_faces, str(tmp_path / "c/out/model.glb")) == {0.2: 12}
