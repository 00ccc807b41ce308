"""Each target keeps the features of glTF materials, or the report names them."""

from math import cos, sin

import bpy
import pytest
from gltf_models import DIRT, GLOW, LEAF, NORMAL, ORM, SECOND_UVS, UVS, gltf
from helpers import build, convert, in_child
from meshgate_engine.formats import glb_container
from models import box, material, picture

FBX, OBJ, USD = "fbx", "obj", "usdz"
ALL = (FBX, OBJ, USD)


def _khr(**extensions: dict) -> dict:
    return {"extensions": {f"KHR_materials_{name}": value for name, value in extensions.items()}}


def _read(path: str) -> bpy.types.Material:
    from meshgate_engine import formats
    from meshgate_engine.job import Job

    kind = path.rpartition(".")[2]
    formats.module(kind).read(Job(path, kind, "", ""))
    return bpy.data.materials[0]


def _socket(path: str, name: str) -> tuple:
    """The first pixel of the image linked to a socket of the only material, or else the socket's value."""
    socket = _read(path).node_tree.nodes["Principled BSDF"].inputs[name]
    while socket.is_linked:
        node = socket.links[0].from_node
        if node.type == "TEX_IMAGE":
            return tuple(node.image.pixels[:4])
        socket = node.inputs["Color"]
    value = socket.default_value
    return tuple(value) if hasattr(value, "__len__") else (value,)


HALF = {"metallicRoughnessTexture": ORM, "roughnessFactor": 0.5, "metallicFactor": 0.25}
CLEARER = {"baseColorTexture": LEAF, "baseColorFactor": [1, 1, 1, 0.5]}


@pytest.mark.parametrize("target", ALL)
@pytest.mark.parametrize(
    ("pbr", "more", "socket", "at", "expected"),
    [
        (HALF, {}, "Roughness", 0, 0.5 * 200 / 255),
        (HALF, {}, "Metallic", 0, 0.25 * 100 / 255),
        (HALF | {"metallicFactor": 0}, {}, "Metallic", 0, 0.0),
        (CLEARER, {"alphaMode": "BLEND"}, "Alpha", 3, 0.5 * 140 / 255),
        (CLEARER, {"alphaMode": "BLEND"}, "Base Color", 3, 0.5 * 140 / 255),
    ],
)
def test_factors_of_textures_are_kept(tmp_path, target, pbr, more, socket, at, expected):
    convert(tmp_path / "c", gltf(tmp_path, pbr, **more), target)
    value = in_child(_socket, str(tmp_path / f"c/out/model.{target}"), socket)
    assert value[at] == pytest.approx(expected, abs=0.004)


@pytest.mark.parametrize(
    ("more", "socket", "expected"),
    [
        # In a normal map, 160 is a quarter of the way to the side, and 230 most of the way to the front.
        ({"normalTexture": NORMAL | {"scale": 0.4}}, "Normal", (144 / 255, 128 / 255, 254 / 255)),
        (_khr(clearcoat={"clearcoatFactor": 0.5, "clearcoatTexture": GLOW}), "Coat Weight", (100 / 255,)),
    ],
)
def test_usd_multiplies_factors_into_the_pixels(tmp_path, more, socket, expected):
    report = convert(tmp_path / "c", gltf(tmp_path, {}, **more), USD)
    assert report["losses"] == report["warnings"] == []
    value = in_child(_socket, str(tmp_path / "c/out/model.usdz"), socket)
    assert value[: len(expected)] == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("target", [*ALL, "glb"])
def test_emission_strength_survives_a_round_trip(tmp_path, target):
    shining = _khr(emissive_strength={"emissiveStrength": 5})
    source = gltf(tmp_path, {}, emissiveTexture=GLOW, emissiveFactor=[1, 1, 1], **shining)
    assert convert(tmp_path / "a", source, target)["losses"] == []
    out = tmp_path / "a/out"
    beside = {file.name: file for file in out.iterdir()}
    convert(tmp_path / "b", out / f"model.{target}", "glb", beside=beside)
    (made,) = glb_container.load(tmp_path / "b/out/model.glb")[0]["materials"]
    assert made["extensions"]["KHR_materials_emissive_strength"]["emissiveStrength"] == pytest.approx(5)
    assert made["emissiveFactor"] == [1, 1, 1]


@pytest.mark.parametrize("target", ALL)
def test_a_texture_with_zero_emission_does_not_glow(tmp_path, target):
    convert(tmp_path / "a", gltf(tmp_path, {}, emissiveTexture=GLOW), target)
    out = tmp_path / "a/out"
    convert(tmp_path / "b", out / f"model.{target}", "glb", beside={file.name: file for file in out.iterdir()})
    (made,) = glb_container.load(tmp_path / "b/out/model.glb")[0]["materials"]
    assert made.get("emissiveFactor", [0, 0, 0]) == [0, 0, 0]


def test_alpha_cutoff_applies_to_alpha_times_its_factor(tmp_path):
    source = gltf(tmp_path, CLEARER, alphaMode="MASK", alphaCutoff=0.3)
    assert convert(tmp_path / "a", source, USD)["losses"] == []
    report = convert(tmp_path / "b", tmp_path / "a/out/model.usdz", "glb")
    (made,) = glb_container.load(tmp_path / "b/out/model.glb")[0]["materials"]
    assert (made["alphaMode"], made["alphaCutoff"]) == ("MASK", pytest.approx(0.3))
    assert report["losses"] == []
    value = in_child(_socket, str(tmp_path / "b/out/model.glb"), "Base Color")
    assert value[3] == pytest.approx(0.5 * 140 / 255, abs=0.004)


@pytest.mark.parametrize("target", ["glb", USD])
def test_index_of_refraction_survives_a_round_trip(tmp_path, target):
    convert(tmp_path / "a", gltf(tmp_path, {}, **_khr(ior={"ior": 1.3})), target)
    convert(tmp_path / "b", tmp_path / f"a/out/model.{target}", "glb")
    document = glb_container.load(tmp_path / "b/out/model.glb")[0]
    assert document["materials"][0]["extensions"]["KHR_materials_ior"]["ior"] == pytest.approx(1.3)
    assert document["extensionsUsed"] == ["KHR_materials_ior"]


def test_usd_converts_specular_gloss_to_an_index_of_refraction(tmp_path):
    glossy = {"diffuseFactor": [1, 1, 1, 1], "specularFactor": [0.25, 0.25, 0.25], "glossinessFactor": 0.7}
    convert(tmp_path / "c", gltf(tmp_path, {}, **_khr(pbrSpecularGlossiness=glossy)), USD)
    # (1 + root of a quarter) / (1 - root of a quarter)
    assert in_child(_socket, str(tmp_path / "c/out/model.usdz"), "IOR") == pytest.approx((3.0,))


def test_obj_holds_the_strength_of_a_tinted_sheen(tmp_path):
    sheen = _khr(sheen={"sheenColorFactor": [0.5, 0.25, 0.25], "sheenRoughnessFactor": 0.5})
    report = convert(tmp_path / "c", gltf(tmp_path, {}, **sheen), OBJ)
    assert report["losses"] == ["1 material loses its sheen colour: obj holds none"]
    assert in_child(_socket, str(tmp_path / "c/out/model.obj"), "Sheen Weight") == pytest.approx((0.5,))


def test_a_texture_in_fbx_is_not_darkened(tmp_path):
    convert(tmp_path / "c", gltf(tmp_path, {}), FBX)
    material = in_child(_colour_beside, str(tmp_path / "c/out/model.fbx"))
    assert material == pytest.approx((1.0, 1.0, 1.0))


def _colour_beside(path: str) -> tuple:
    return tuple(_read(path).node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value)[:3]


def _uvs(path: str) -> list:
    """The UVs of the first layer, in the order of the triangle's corners."""
    _read(path)
    (item,) = [each for each in bpy.context.scene.objects if each.type == "MESH"]
    found = {}
    for loop, uv in zip(item.data.loops, item.data.uv_layers[0].uv, strict=True):
        place = item.matrix_world @ item.data.vertices[loop.vertex_index].co
        found[round(place.x, 3), round(place.z, 3)] = (uv.vector[0], 1 - uv.vector[1])
    return [found[corner] for corner in ((0, 0), (1, 0), (0, 1.8))]


def _transformed(uvs: tuple) -> list:
    """UVs as KHR_texture_transform defines them."""
    moved = [(cos(0.5) * 2 * u + sin(0.5) * 3 * v + 0.25, -sin(0.5) * 2 * u + cos(0.5) * 3 * v + 0.5) for u, v in uvs]
    return [pytest.approx(uv, abs=1e-4) for uv in moved]


MOVED = {"extensions": {"KHR_texture_transform": {"offset": [0.25, 0.5], "rotation": 0.5, "scale": [2, 3]}}}


@pytest.mark.parametrize("target", [FBX, OBJ])
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ({}, [pytest.approx(uv) for uv in UVS]),
        ({"texCoord": 1}, [pytest.approx(uv) for uv in SECOND_UVS]),
        (MOVED, _transformed(UVS)),
        (MOVED | {"texCoord": 1}, _transformed(SECOND_UVS)),
    ],
)
def test_uv_transforms_are_baked_into_the_first_uvs(tmp_path, target, place, expected):
    pbr = {"baseColorTexture": {"index": 0, **place}, "metallicRoughnessTexture": {**ORM, **place}}
    report = convert(tmp_path / "c", gltf(tmp_path, pbr, normalTexture={**NORMAL, **place}), target)
    assert report["losses"] == report["warnings"] == []
    assert in_child(_uvs, str(tmp_path / f"c/out/model.{target}")) == expected


def _two_of_one_mesh() -> None:
    """Two objects sharing a mesh, whose materials each use a different UV layer."""
    first = box("First")
    small = first.data.uv_layers.new(name="Small")
    for uv in small.uv:
        uv.vector = (uv.vector[0] / 2, uv.vector[1] / 2)
    second = bpy.data.objects.new("Second", first.data)
    bpy.context.scene.collection.objects.link(second)
    first.data.materials.append(None)
    for item, layer in ((first, "UVMap"), (second, "Small")):
        made = material(layer, picture(f"{layer}.png"))
        nodes = made.node_tree.nodes
        place = nodes.new("ShaderNodeUVMap")
        place.uv_map = layer
        image = next(node for node in nodes if node.type == "TEX_IMAGE")
        made.node_tree.links.new(place.outputs["UV"], image.inputs["Vector"])
        item.material_slots[0].link = "OBJECT"
        item.material_slots[0].material = made


def _highest_uvs(path: str) -> dict:
    _read(path)
    items = [item for item in bpy.context.scene.objects if item.type == "MESH"]
    return {item.name: max(uv.vector[0] for uv in item.data.uv_layers[0].uv) for item in items}


@pytest.mark.parametrize("target", [FBX, OBJ])
def test_objects_sharing_a_mesh_keep_their_own_uvs(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _two_of_one_mesh), target)
    assert report["losses"] == report["warnings"] == []
    found = in_child(_highest_uvs, str(tmp_path / f"c/out/model.{target}"))
    assert found == {"First": pytest.approx(1.0), "Second": pytest.approx(0.5)}


@pytest.mark.parametrize("target", [FBX, OBJ])
@pytest.mark.parametrize(
    ("place", "losses", "warnings"),
    [
        ({"texCoord": 1}, ["UVs of 1 texture: {} holds those of its material's colour alone"], []),
        (MOVED, [], ["1 texture came out with a place of its own beside: not every reader of {} asks for it"]),
    ],
)
def test_textures_with_other_uvs_are_reported(tmp_path, target, place, losses, warnings):
    report = convert(tmp_path / "c", gltf(tmp_path, {}, normalTexture={**NORMAL, **place}), target)
    assert report["losses"] == [clause.format(target) for clause in losses]
    assert report["warnings"] == [clause.format(target) for clause in warnings]


def test_usd_and_glb_keep_uv_transforms(tmp_path):
    pbr = {"baseColorTexture": {"index": 0, "texCoord": 1, **MOVED}}
    report = convert(tmp_path / "a", gltf(tmp_path, pbr), USD)
    assert report["losses"] == report["warnings"] == []
    convert(tmp_path / "b", tmp_path / "a/out/model.usdz", "glb")
    (made,) = glb_container.load(tmp_path / "b/out/model.glb")[0]["materials"]
    found = made["pbrMetallicRoughness"]["baseColorTexture"]
    assert found["texCoord"] == 1
    assert found["extensions"]["KHR_texture_transform"]["scale"] == pytest.approx([2, 3])


GLASS = {"transmission": {"transmissionFactor": 1}}
# Feature -> a material with it, and the targets that support it.
KINDS = {
    "transmission": (_khr(**GLASS), {"glb", OBJ}),
    "volume": (_khr(volume={"thicknessFactor": 1, "attenuationColor": [1, 0, 0], "attenuationDistance": 1}), {"glb"}),
    "clearcoat": (_khr(clearcoat={"clearcoatFactor": 0.5}), {"glb", OBJ, USD}),
    "sheen": (_khr(sheen={"sheenColorFactor": [1, 1, 1], "sheenRoughnessFactor": 0.5}), {"glb", OBJ}),
    "specular colour": (_khr(specular={"specularColorFactor": [1, 0.5, 0.25]}), {"glb"}),
    "specular strength": (_khr(specular={"specularFactor": 0.5}), {"glb", FBX, OBJ}),
    "anisotropy": (_khr(anisotropy={"anisotropyStrength": 0.5}), {"glb", OBJ}),
    "index of refraction": (_khr(ior={"ior": 1.3}), {"glb", OBJ, USD}),
    "ambient occlusion": ({"occlusionTexture": ORM}, {"glb"}),
    "iridescence": (_khr(iridescence={"iridescenceFactor": 0.5}), set()),
    "dispersion": (_khr(dispersion={"dispersion": 0.5}), set()),
}


@pytest.mark.parametrize("target", [*ALL, "glb"])
@pytest.mark.parametrize("word", KINDS)
def test_unsupported_material_features_are_reported(tmp_path, target, word):
    more, holders = KINDS[word]
    # Occlusion and metal share an image, so that the counts do not show the loss.
    report = convert(tmp_path / "c", gltf(tmp_path, {"metallicRoughnessTexture": ORM}, **more), target)
    why = f"{target} holds none" if holders else "it is not read"
    if target == USD and word in {"ambient occlusion", "specular colour"}:
        why = "Blender's exporter does not write it"
    assert report["losses"] == ([] if target in holders else [f"1 material loses its {word}: {why}"])


@pytest.mark.parametrize("target", [*ALL, "glb"])
def test_material_features_without_effect_are_not_reported(tmp_path, target):
    nothing = _khr(
        transmission={"transmissionFactor": 0},
        clearcoat={"clearcoatFactor": 0, "clearcoatRoughnessFactor": 0.5},
        sheen={"sheenRoughnessFactor": 0.5},
        specular={"specularFactor": 1, "specularColorFactor": [1, 1, 1]},
        anisotropy={"anisotropyStrength": 0},
        ior={"ior": 1.5},
        iridescence={"iridescenceFactor": 0, "iridescenceIor": 1.5},
        dispersion={"dispersion": 0},
        emissive_strength={"emissiveStrength": 1},
    )
    plain = {"baseColorFactor": [1, 1, 1, 1], "metallicFactor": 1, "metallicRoughnessTexture": ORM}
    source = gltf(tmp_path, plain, normalTexture=NORMAL | {"scale": 1}, doubleSided=True, **nothing)
    report = convert(tmp_path / "c", source, target)
    assert report["losses"] == report["warnings"] == []


@pytest.mark.parametrize("target", [FBX, OBJ])
def test_lost_alpha_cutoff_is_reported_and_its_image_kept(tmp_path, target):
    report = convert(tmp_path / "c", gltf(tmp_path, {"baseColorTexture": LEAF}, alphaMode="MASK"), target)
    assert report["losses"] == [f"1 material loses its sharp edges of alpha: {target} holds no cutoff"]
    value = in_child(_socket, str(tmp_path / f"c/out/model.{target}"), "Alpha")
    assert value[3] == pytest.approx(140 / 255, abs=0.004)


MIRRORED = {"wrapS": 33648, "wrapT": 33648}


@pytest.mark.parametrize(
    ("sampler", "place", "targets"),
    [
        (MIRRORED, MOVED, {FBX, OBJ}),
        (MIRRORED, {}, set()),
        ({"wrapS": 33071, "wrapT": 33071}, MOVED, {OBJ}),
        ({"wrapS": 33071, "wrapT": 10497}, MOVED, {FBX, OBJ}),
    ],
)
def test_unsupported_wrap_modes_are_reported_if_visible(tmp_path, sampler, place, targets):
    for target in (FBX, OBJ):
        source = gltf(tmp_path, {"baseColorTexture": {"index": 0, **place}}, sampler=sampler)
        report = convert(tmp_path / target, source, target)
        clause = f"1 texture may repeat differently beyond the edges: {target} cannot hold the wrap mode"
        assert report["warnings"] == ([clause] if target in targets else [])


@pytest.mark.parametrize("target", ALL)
def test_textures_with_nearest_filtering_give_a_warning(tmp_path, target):
    report = convert(tmp_path / "c", gltf(tmp_path, {}, sampler={"magFilter": 9728, "minFilter": 9728}), target)
    assert report["warnings"] == [f"1 texture may look smoothed: {target} has no setting for sharp pixels"]


def test_occlusion_merged_with_metal_and_roughness_is_kept(tmp_path):
    source = gltf(tmp_path, {"metallicRoughnessTexture": ORM}, occlusionTexture=DIRT)
    report = convert(tmp_path / "c", source, "glb")
    assert report["packed_textures"] == 1
    assert report["input"]["textures"] - report["output"]["textures"] == 1
    assert report["losses"] == []
