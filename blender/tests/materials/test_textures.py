"""Textures are found by name and written with the result; missing ones never stop a conversion."""

import zipfile
from pathlib import Path

import bpy
import pytest
from helpers import build, convert, in_child
from meshgate_engine.formats import glb_container
from meshgate_engine.materials import texture_files
from meshgate_engine.runtime import preload
from models import box, material, picture

TRIANGLE = """mtllib model.mtl
v 0 0 0
v 1 0 0
v 0 1 0
vt 0 0
vt 1 0
vt 0 1
usemtl Skin
f 1/1 2/2 3/3
"""


def obj_with_texture(folder: Path, reference: str) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    model, materials = folder / "model.obj", folder / "model.mtl"
    model.write_text(TRIANGLE)
    materials.write_text(f"newmtl Skin\nKd 0.8 0.1 0.1\nmap_Kd {reference}\n")
    return model, materials


def png(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "green.png"
    in_child(_save_png, path)
    return path


def _save_png(path: Path) -> None:
    image = picture()
    image.filepath_raw = str(path)
    image.file_format = "PNG"
    image.save()


@pytest.mark.parametrize(
    ("reference", "place"),
    [
        ("C:\\art\\skin.png", "skin.png"),
        ("textures/skin.png", "SKIN.PNG"),
        ("../up/skin%20one.png", "maps/skin one.png"),
        ("/somewhere/else/肌.png", "肌.png"),
    ],
)
def test_textures_are_found_by_name(tmp_path, reference, place):
    model, materials = obj_with_texture(tmp_path / "s", reference)
    beside = {"model.mtl": materials, place: png(tmp_path / "s")}
    report = convert(tmp_path / "c", model, "glb", beside=beside)
    assert report["input"]["missing_textures"] == []
    assert report["output"]["textures"] == 1
    assert report["warnings"] == []


@pytest.mark.parametrize("target", ["glb", "fbx", "obj", "usdz", "usda", "stl", "ply", "abc", "blend"])
def test_a_missing_texture_is_reported_and_its_material_kept(tmp_path, target):
    model, materials = obj_with_texture(tmp_path / "s", "C:\\art\\skin.png")
    report = convert(tmp_path / "c", model, target, beside={"model.mtl": materials})
    assert report["input"]["textures"] == 1
    assert report["input"]["missing_textures"] == ["skin.png"]
    assert report["warnings"] == ["a texture was not found: skin.png"]
    assert report["output"]["triangles"] == 1


def test_a_damaged_texture_is_reported(tmp_path):
    model, materials = obj_with_texture(tmp_path / "s", "skin.png")
    damaged = tmp_path / "s" / "skin.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    report = convert(tmp_path / "c", model, "glb", beside={"model.mtl": materials, "skin.png": damaged})
    assert report["warnings"] == ["a texture could not be read: skin.png"]
    pbr = glb_container.document(tmp_path / "c/out/model.glb")["materials"][0]["pbrMetallicRoughness"]
    assert pbr["baseColorFactor"][0] > 3 * pbr["baseColorFactor"][1]


def test_a_material_without_its_texture_keeps_its_colour(tmp_path):
    model, materials = obj_with_texture(tmp_path / "s", "skin.png")
    convert(tmp_path / "c", model, "glb", beside={"model.mtl": materials})
    document = glb_container.document(tmp_path / "c/out/model.glb")
    pbr = document["materials"][0]["pbrMetallicRoughness"]
    assert "baseColorTexture" not in pbr
    assert pbr["baseColorFactor"][0] > 3 * pbr["baseColorFactor"][1]


def test_textures_outside_the_model_are_never_read(tmp_path):
    secret = png(tmp_path / "elsewhere")
    model, materials = obj_with_texture(tmp_path / "s", str(secret))
    report = convert(tmp_path / "c", model, "blend", beside={"model.mtl": materials})
    assert report["input"]["missing_textures"] == ["green.png"]
    assert report["output"]["missing_textures"] == ["green.png"]
    assert secret.read_bytes() not in (tmp_path / "c/out/model.blend").read_bytes()


def _two_of_one_name() -> None:
    for index in range(2):
        item = box(f"Box{index}")
        image = picture(f"skin{index}.png", blue=index)
        image.filepath_raw = f"//{index}/skin.png"
        item.data.materials.append(material(f"Skin{index}", image))


def test_the_file_with_the_longest_common_suffix_is_used(tmp_path):
    model, materials = obj_with_texture(tmp_path / "s", "C:\\art\\Head\\green.png")
    green, other = png(tmp_path / "s"), tmp_path / "s" / "other.png"
    other.write_bytes(green.read_bytes() + b"behind the end")
    beside = {"model.mtl": materials, "body/green.png": other, "head/GREEN.png": green}
    report = convert(tmp_path / "c", model, "glb", beside=beside)
    assert report["warnings"] == []
    assert other.read_bytes() not in (tmp_path / "c/out/model.glb").read_bytes()

    del beside["head/GREEN.png"]
    for number, content in enumerate((other, green)):
        report = convert(tmp_path / f"d{number}", model, "glb", beside={**beside, "a/green.png": content})
        said = ["several files may be the texture green.png; it may be the wrong one"]
        assert report["warnings"] == (said if content is green else [])


@pytest.mark.parametrize("target", ["obj", "usda", "usdz", "fbx", "glb", "blend"])
def test_packed_textures_with_equal_names_are_both_kept(tmp_path, target):
    source = build(tmp_path, _two_of_one_name)
    report = convert(tmp_path / "c", source, target)
    assert report["input"]["textures"] == 2
    assert report["output"]["textures"] == 2
    assert report["output"]["missing_textures"] == []


# Texture names that are unsafe on a user's disk -> the names in the result.
_HARMFUL = {
    ".x": "x.png", "..\\y.png": "y.png", "aux.png": "_aux.png", "C:z.png": "z.png", "nul": "_nul.png",
    "two\nlines.png": "two_lines.png", "turned\u202egnp.exe": "turned_gnp.exe.png", "  .hidden.png": "hidden.png",
    "\u732b" * 60 + ".png": "\u732b" * 56 + ".png", "Same.png": "Same.png", "same.png": "same_2.png",
}  # fmt: skip


def _harmfully_named() -> None:
    for index, name in enumerate(_HARMFUL):
        image = picture(f"image{index}", blue=index / len(_HARMFUL))
        image.filepath_raw = f"//{index}/{name}"
        box(f"Box{index}").data.materials.append(material(f"Skin{index}", image))


@pytest.mark.parametrize("target", ["obj", "usda"])
def test_textures_get_safe_names_and_stay_linked(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _harmfully_named), target)
    assert report["input"]["textures"] == report["output"]["textures"] == len(_HARMFUL)
    assert report["output"]["missing_textures"] == []
    assert report["losses"] == []
    files = [path.name for path in (tmp_path / "c/out").rglob("*.png")]
    # Of two names that differ only in case, either may get the number.
    assert sorted(name.casefold() for name in files) == sorted(name.casefold() for name in _HARMFUL.values())


def _generated() -> None:
    box("Box").data.materials.append(material("Grey", bpy.data.images.new("grey", 8, 8)))


@pytest.mark.parametrize("target", ["obj", "usda", "fbx", "glb", "blend"])
def test_generated_images_are_kept(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _generated), target)
    assert report["input"]["textures"] == 1
    assert report["losses"] == []


@pytest.mark.parametrize("target", ["fbx", "glb", "usdz", "blend"])
def test_single_file_formats_embed_their_textures(tmp_path, target):
    source = build(tmp_path, _two_of_one_name)
    convert(tmp_path / "c", source, target)
    assert [path.name for path in (tmp_path / "c/out").iterdir()] == [f"model.{target}"]


@pytest.mark.parametrize("target", ["fbx", "abc", "glb", "usda"])
def test_a_result_holds_no_local_path(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _two_of_one_name), target)
    assert report["output"]["triangles"] == 24
    for path in (tmp_path / "c/out").rglob("*.*"):
        assert str(tmp_path).encode() not in path.read_bytes()


def test_a_blend_holds_no_local_path(tmp_path):
    fbx = convert(tmp_path / "c", build(tmp_path, _two_of_one_name), "fbx") and tmp_path / "c/out/model.fbx"
    convert(tmp_path / "d", fbx, "blend")
    paths = in_child(_image_paths, str(tmp_path / "d/out/model.blend"))
    assert len(paths) == 2
    assert all(path.startswith("//") for path in paths)


def _image_paths(path: str) -> list[str]:
    bpy.ops.wm.open_mainfile(filepath=path, load_ui=False, use_scripts=False)
    return [image.filepath_raw for image in bpy.data.images if image.type == "IMAGE"]


def _embedded_in_group() -> None:
    item = box("Box")
    made = material("Skin")
    group = bpy.data.node_groups.new("Group", "ShaderNodeTree")
    group.nodes.new("ShaderNodeTexImage").image = picture()
    made.node_tree.nodes.new("ShaderNodeGroup").node_tree = group
    item.data.materials.append(made)


def test_textures_in_node_groups_are_counted(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _embedded_in_group), "blend")
    assert report["input"]["textures"] == report["output"]["textures"] == 1


# Extension -> Blender's name of the format, the red value of the picture, and its format in USDZ.
FORMATS = {
    "png": ("PNG", 0.4, "png"), "jpeg": ("JPEG", 0.4, "jpeg"), "exr": ("OPEN_EXR", 4.0, "exr"),
    "hdr": ("HDR", 4.0, "exr"), "bmp": ("BMP", 0.4, "png"), "tga": ("TARGA", 0.4, "png"), "tif": ("TIFF", 0.4, "png"),
    "webp": ("WEBP", 0.4, "png"), "jp2": ("JPEG2000", 0.4, "png"),
}  # fmt: skip


def _of_every_format() -> None:
    for extension, (kind, red, _) in FORMATS.items():
        made = bpy.data.images.new(extension, 64, 64, float_buffer=red > 1, is_data=red > 1)
        made.pixels = [red, 0.8, 0.2, 1.0] * (64 * 64)
        made.file_format = kind
        made.filepath_raw = str(Path(f"of_{extension}.{extension}").absolute())
        made.save()
        image = bpy.data.images.load(made.filepath_raw)
        image.pack()
        box(extension).data.materials.append(material(extension, image))
    # The file holds floats, but not linear colours.
    deep = bpy.data.images.load(str(_sixteen_bits(Path("deep.tif").absolute())))
    deep.pack()
    box("deep").data.materials.append(material("deep", deep))


def _sixteen_bits(path: Path) -> Path:
    made = bpy.data.images.new("deep", 64, 64, float_buffer=True, is_data=True)
    made.pixels = [0.4, 0.8, 0.2, 1.0] * (64 * 64)
    settings = bpy.context.scene.render.image_settings
    settings.file_format, settings.color_depth = "TIFF", "16"
    bpy.context.scene.view_settings.view_transform = "Raw"
    made.save_render(str(path))
    return path


def _reds(path: str) -> dict[str, float]:
    bpy.ops.wm.usd_import(filepath=path, import_textures_mode="IMPORT_PACK")
    images = {image.name.rpartition(".")[0] or image.name: image for image in bpy.data.images if image.size[0]}
    return {name: image.pixels[0] for name, image in images.items()}


@pytest.fixture
def images(tmp_path, monkeypatch):
    """A working directory for images; OpenEXR is set up as in the zygote before it forks."""
    preload._stop_openexr_threads()
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path / "images")


@pytest.mark.usefixtures("images")
def test_usdz_holds_only_supported_image_formats(tmp_path):
    source = build(tmp_path, _of_every_format)
    report = convert(tmp_path / "c", source, "usdz")
    assert report["losses"] == []
    assert report["warnings"] == [
        "7 textures were made PNG or EXR, as usdz allows: deep.tif, of_bmp.bmp, of_hdr.hdr, of_jp2.jp2, of_tga.tga"
        " and 2 more"
    ]
    with zipfile.ZipFile(tmp_path / "c/out/model.usdz") as package:
        names = sorted(Path(name).name for name in package.namelist() if name.startswith("textures/"))
        contents = {Path(name).name: package.read(name) for name in package.namelist()}
    assert names == sorted(["deep.png", *(f"of_{name}.{after}" for name, (_, _, after) in FORMATS.items())])
    starts = {"png": b"\x89PNG", "exr": b"\x76\x2f\x31\x01", "jpeg": b"\xff\xd8"}
    assert all(contents[name].startswith(starts[name.rpartition(".")[2]]) for name in names)
    reds = in_child(_reds, str(tmp_path / "c/out/model.usdz"))
    assert reds["deep"] == pytest.approx(0.4, abs=0.02)
    for name, (_, red, _) in FORMATS.items():
        assert reds[f"of_{name}"] == pytest.approx(red, abs=0.03), name


@pytest.mark.usefixtures("images")
def test_usd_keeps_image_formats(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _of_every_format), "usda")
    assert report["warnings"] == []
    names = sorted(path.name for path in (tmp_path / "c/out/textures").iterdir())
    assert names == sorted(["deep.tif", *(f"of_{name}.{name}" for name in FORMATS)])


def _three_on_one_material() -> None:
    """Two textures that every format supports, and one that the OBJ and FBX exporters omit."""
    item = box("Box")
    made = material("Skin", picture("colour.png"))
    item.data.materials.append(made)
    node = made.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = picture("coat.png", blue=0.7)
    made.node_tree.links.new(node.outputs["Color"], made.node_tree.nodes["Principled BSDF"].inputs["Coat Tint"])
    bump = made.node_tree.nodes.new("ShaderNodeNormalMap")
    node = made.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = picture("my bump.png", blue=0.9)
    made.node_tree.links.new(node.outputs["Color"], bump.inputs["Color"])
    made.node_tree.links.new(bump.outputs["Normal"], made.node_tree.nodes["Principled BSDF"].inputs["Normal"])


@pytest.mark.parametrize(("target", "read_back"), [("obj", False), ("glb", False), ("fbx", True), ("usdc", True)])
def test_lost_textures_are_named(tmp_path, target, read_back):
    report = convert(tmp_path / "c", build(tmp_path, _three_on_one_material), target, read_back=read_back)
    assert report["losses"] == ["1 of 3 textures did not come out: coat.png"]


def test_kept_textures_are_not_reported(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _two_of_one_name), "obj", read_back=False)
    assert report["losses"] == []


@pytest.mark.parametrize(
    "path",
    [
        "//tex.png",
        "//textures/tex.png",
        "C:\\art\\tex.png",
        "C:tex.png",
        "\\\\server\\tex.png",
        "a/b/tex.png",
        "tex.png",
    ],
)
def test_file_names_are_read_from_paths_of_any_system(path):
    assert texture_files.base_name(path) == "tex.png"
