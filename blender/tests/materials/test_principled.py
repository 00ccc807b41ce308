"""Tinted and unlit textures, and channels of one image, are kept; the report names what a target cannot hold."""

import bpy
import pytest
from gltf_models import gltf
from helpers import build, convert, in_child
from meshgate_engine.formats import glb_container
from models import box, material, picture

UNLIT = {"extensions": {"KHR_materials_unlit": {}}}
METAL_AND_ROUGHNESS = {"metallicRoughnessTexture": {"index": 1}, "roughnessFactor": 0.5}


def _sockets(path: str) -> dict:
    """For each socket of the only material, the image and its first pixel, or the socket's value."""
    from meshgate_engine import formats
    from meshgate_engine.job import Job

    kind = path.rpartition(".")[2]
    formats.module(kind).read(Job(path, kind, "", ""))
    (made,) = bpy.data.materials
    found = {}
    for socket in made.node_tree.nodes["Principled BSDF"].inputs:
        image = socket.links[0].from_node.image if socket.is_linked and socket.name != "Normal" else None
        value = getattr(socket, "default_value", None)
        plain = tuple(value) if hasattr(value, "__len__") else value
        found[socket.name] = (image.name.removesuffix(".png"), image.pixels[0], plain) if image else plain
    return found


def _beside(target: str) -> str:
    return f"the colour that tints 1 texture came out beside it: not every reader of {target} multiplies them"


@pytest.mark.parametrize("target", ["fbx", "obj"])
def test_a_tinted_texture_keeps_its_tint_as_a_colour(tmp_path, target):
    source = gltf(tmp_path, {"baseColorFactor": [0.8, 0.5, 0.25, 1]})
    report = convert(tmp_path / "c", source, target)
    assert (report["losses"], report["warnings"]) == ([], [_beside(target)])
    name, _pixel, colour = in_child(_sockets, str(tmp_path / f"c/out/model.{target}"))["Base Color"]
    assert name == "base"
    assert colour[:3] == pytest.approx((0.8, 0.5, 0.25))


@pytest.mark.parametrize("also", [{}, {"emissiveTexture": {"index": 1}, "emissiveFactor": [0.5, 0.25, 0.125]}])
def test_usd_holds_the_tint_of_a_texture(tmp_path, also):
    source = gltf(tmp_path, {"baseColorFactor": [0.8, 0.5, 0.25, 1]}, **also)
    report = convert(tmp_path / "a", source, "usdz")
    assert report["losses"] == report["warnings"] == []
    convert(tmp_path / "b", tmp_path / "a/out/model.usdz", "glb")
    (made,) = glb_container.load(tmp_path / "b/out/model.glb")[0]["materials"]
    assert made["pbrMetallicRoughness"]["baseColorFactor"][:3] == pytest.approx([0.8, 0.5, 0.25])
    assert made.get("emissiveFactor") == (pytest.approx([0.5, 0.25, 0.125]) if also else None)


@pytest.mark.parametrize("target", ["fbx", "obj", "usdz"])
def test_a_texture_tinted_by_vertex_colours_is_kept(tmp_path, target):
    report = convert(tmp_path / "c", gltf(tmp_path, {}, coloured=True), target)
    assert report["losses"] == [
        f"the tint of 1 texture by vertex colours: {target} cannot combine textures with vertex colours"
    ]
    assert report["output"]["textures"] == report["output"]["vertex_colours"] == 1


@pytest.mark.parametrize("target", ["fbx", "obj", "usdz"])
@pytest.mark.parametrize("blend", [{}, {"alphaMode": "BLEND"}])
def test_an_unlit_texture_is_kept(tmp_path, target, blend):
    report = convert(tmp_path / "c", gltf(tmp_path, {}, **UNLIT, **blend), target)
    assert report["losses"] == [f"1 unlit material became lit: {target} has no unlit materials"]
    found = in_child(_sockets, str(tmp_path / f"c/out/model.{target}"))
    assert found["Base Color"][0] == "base"
    assert (target == "obj") or isinstance(found["Alpha"], tuple) == bool(blend)


@pytest.mark.parametrize("target", ["fbx", "obj"])
def test_channels_of_one_image_become_separate_images(tmp_path, target):
    report = convert(tmp_path / "c", gltf(tmp_path, METAL_AND_ROUGHNESS), target)
    assert report["losses"] == report["warnings"] == []
    found = in_child(_sockets, str(tmp_path / f"c/out/model.{target}"))
    assert found["Base Color"][0] == "base"
    assert found["Metallic"][:2] == ("orm_metallic", pytest.approx(100 / 255, abs=0.003))
    assert found["Roughness"][:2] == ("orm_roughness", pytest.approx(0.5 * 200 / 255, abs=0.003))


def _metal_roughness_and_coat() -> None:
    """A material with a texture of two channels, and with one that FBX and OBJ cannot hold."""
    item = box("Box")
    made = material("Metal", picture("colour.png"))
    item.data.materials.append(made)
    tree, shader = made.node_tree, made.node_tree.nodes["Principled BSDF"]
    node, parts = tree.nodes.new("ShaderNodeTexImage"), tree.nodes.new("ShaderNodeSeparateColor")
    node.image = picture("orm.png", blue=0.5)
    tree.links.new(node.outputs["Color"], parts.inputs["Color"])
    tree.links.new(parts.outputs["Green"], shader.inputs["Roughness"])
    tree.links.new(parts.outputs["Blue"], shader.inputs["Metallic"])
    coat = tree.nodes.new("ShaderNodeTexImage")
    coat.image = picture("coat.png", blue=0.7)
    tree.links.new(coat.outputs["Color"], shader.inputs["Coat Tint"])


@pytest.mark.parametrize(("target", "read_back"), [("obj", False), ("fbx", True)])
def test_separated_channels_do_not_hide_a_lost_texture(tmp_path, target, read_back):
    report = convert(tmp_path / "c", build(tmp_path, _metal_roughness_and_coat), target, read_back=read_back)
    assert report["losses"] == ["1 of 3 textures did not come out: coat.png"]


def _only_coat() -> None:
    item = box("Box")
    made = material("Metal")
    item.data.materials.append(made)
    node = made.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = picture("coat.png")
    made.node_tree.links.new(node.outputs["Color"], made.node_tree.nodes["Principled BSDF"].inputs["Coat Tint"])


@pytest.mark.parametrize("target", ["fbx", "usdc"])
def test_a_lost_only_texture_is_named(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _only_coat), target)
    assert report["losses"] == ["1 texture did not come out: coat.png"]


def _in_a_group() -> None:
    """A shader in a node group, which darkens a texture from outside the group."""
    item = box("Box")
    made = material("Skin", picture("colour.png"))
    item.data.materials.append(made)
    tree = made.node_tree
    group = bpy.data.node_groups.new("Group", "ShaderNodeTree")
    group.interface.new_socket("Picture", in_out="INPUT", socket_type="NodeSocketColor")
    group.interface.new_socket("Surface", in_out="OUTPUT", socket_type="NodeSocketShader")
    start, end = group.nodes.new("NodeGroupInput"), group.nodes.new("NodeGroupOutput")
    shader, mix = group.nodes.new("ShaderNodeBsdfPrincipled"), group.nodes.new("ShaderNodeHueSaturation")
    group.links.new(start.outputs["Picture"], mix.inputs["Color"])
    group.links.new(mix.outputs["Color"], shader.inputs["Base Color"])
    group.links.new(shader.outputs["BSDF"], end.inputs["Surface"])
    tree.nodes.remove(tree.nodes["Principled BSDF"])
    node = tree.nodes.new("ShaderNodeGroup")
    node.node_tree = group
    image = next(each for each in tree.nodes if each.type == "TEX_IMAGE")
    tree.links.new(image.outputs["Color"], node.inputs["Picture"])
    tree.links.new(node.outputs["Surface"], tree.nodes["Material Output"].inputs["Surface"])


@pytest.mark.parametrize("target", ["fbx", "obj", "usdz"])
def test_a_texture_in_a_node_group_is_kept(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _in_a_group), target)
    assert report["losses"] == [f"what nodes make of 1 texture: {target} holds it as it is"]
    assert in_child(_sockets, str(tmp_path / f"c/out/model.{target}"))["Base Color"][0] == "colour"


def _in_a_circle() -> None:
    """Circular nodes, each of which doubles the number of paths to a texture."""
    item = box("Box")
    made = material("Skin", picture("colour.png"))
    item.data.materials.append(made)
    tree = made.node_tree
    first = before = tree.nodes.new("ShaderNodeMixRGB")
    for _ in range(40):
        node = tree.nodes.new("ShaderNodeMixRGB")
        for name in ("Color1", "Color2"):
            tree.links.new(before.outputs["Color"], node.inputs[name])
        before = node
    tree.links.new(before.outputs["Color"], first.inputs["Color1"])
    tree.links.new(before.outputs["Color"], tree.nodes["Principled BSDF"].inputs["Base Color"])


def test_circular_nodes_end_the_search(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _in_a_circle), "fbx")
    assert report["losses"] == ["1 texture did not come out: colour.png"]
