"""Code in a .blend file never runs, and its references never lead out of the conversion's folder."""

import bpy
import pytest
from helpers import build, convert
from models import figure


def malicious(folder):
    """A builder of a file that tries to write ``folder/ran-…`` when it is opened or evaluated."""

    def builder():
        figure()
        item = bpy.data.objects["Figure"]
        driver = item.driver_add("location", 0).driver
        driver.type = "SCRIPTED"
        # Blender's own evaluator of simple expressions cannot call this, only Python can.
        driver.expression = f"(lambda: open({str(folder / 'ran-driver')!r}, 'w').close() or 0.0)()"
        text = bpy.data.texts.new("start.py")
        text.write(f"open({str(folder / 'ran-text')!r}, 'w').close()")
        text.use_module = True

    return builder


@pytest.mark.parametrize("target", ["glb", "fbx", "usdz", "blend", "stl"])
def test_scripts_and_drivers_do_not_run(tmp_path, target):
    source = build(tmp_path / "s", malicious(tmp_path), as_blender_does=True)
    for trace in tmp_path.glob("ran-*"):
        trace.unlink()
    report = convert(tmp_path / "c", source, target)
    assert list(tmp_path.glob("ran-*")) == []
    assert report["warnings"] == ["scripts and drivers in the file were not run"]
    assert report["output"]["triangles"] == 12


def test_a_linked_library_is_not_opened(tmp_path):
    library = build(tmp_path / "elsewhere", figure, "library.blend")

    def linking():
        with bpy.data.libraries.load(str(library), link=True) as (_there, here):
            here.objects = ["Figure"]
        bpy.context.scene.collection.objects.link(here.objects[0])
        figure()

    source = build(tmp_path / "s", linking, as_blender_does=True)
    report = convert(tmp_path / "c", source, "glb")
    assert report["warnings"] == ["a linked library was not opened: library.blend"]
    assert report["input"]["meshes"] == report["output"]["meshes"] == 1


def hiding():
    figure()
    cutter = bpy.data.objects["Figure"].copy()
    cutter.name = "Cutter"
    bpy.context.scene.collection.objects.link(cutter)
    cutter.hide_viewport = True


def test_a_blend_keeps_its_hidden_objects(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path / "s", hiding), "blend")
    assert report["warnings"] == []
    assert report["output"]["objects"] == 2


def test_hidden_objects_are_left_out(tmp_path):
    source = build(tmp_path / "s", hiding)
    for target in ("glb", "stl", "fbx", "usdc"):
        report = convert(tmp_path / target, source, target)
        assert report["warnings"] == ["hidden objects were left out: Cutter"]
        assert report["input"]["triangles"] == report["output"]["triangles"] == 12


def _family(hidden: str):
    """A builder of a figure on a base; one of the two is hidden."""

    def builder():
        figure()
        base = bpy.data.objects["Figure"].copy()
        base.name = "Base"
        bpy.context.scene.collection.objects.link(base)
        base.location.x = 5
        bpy.data.objects["Figure"].parent = base
        bpy.data.objects[hidden].hide_viewport = True

    return builder


@pytest.mark.parametrize("target", ["glb", "fbx", "usdc"])
@pytest.mark.parametrize("hidden", ["Base", "Figure"])
def test_visible_parents_and_children_of_hidden_objects_are_kept(tmp_path, hidden, target):
    report = convert(tmp_path / "c", build(tmp_path / "s", _family(hidden)), target)
    assert report["warnings"] == [f"hidden objects were left out: {hidden}"]
    for counts in (report["input"], report["output"]):
        assert (counts["meshes"], counts["triangles"]) == (1, 12)
        assert counts["bounds_m"]["max"] == pytest.approx([5.3, 1.8, 0.25], abs=0.001)


@pytest.mark.parametrize("target", ["glb", "fbx", "usdc"])
def test_other_scenes_are_left_out(tmp_path, target):
    def two_scenes():
        figure()
        other = bpy.data.scenes.new("Other")
        for number in range(2):
            item = bpy.data.objects.new(f"There{number}", bpy.data.meshes["Figure"])
            other.collection.objects.link(item)

    report = convert(tmp_path / "c", build(tmp_path / "s", two_scenes), target)
    assert report["losses"] == ["1 other scene: only the active one is converted"]
    assert report["output"]["meshes"] == report["output"]["objects"] == 1


def test_modifiers_are_applied(tmp_path):
    def arrayed():
        figure()
        array = bpy.data.objects["Figure"].modifiers.new("Array", "ARRAY")
        array.count = 3
        array.relative_offset_displace[0] = 2.0

    source = build(tmp_path / "s", arrayed)
    for target in ("glb", "stl", "fbx", "usdc", "abc"):
        report = convert(tmp_path / target, source, target)
        assert report["input"]["triangles"] == report["output"]["triangles"] == 36


def test_scene_units_scale_the_model(tmp_path):
    def in_centimetres():
        figure()
        item = bpy.data.objects["Figure"]
        item.scale = (100, 100, 100)
        bpy.context.scene.unit_settings.system = "METRIC"
        bpy.context.scene.unit_settings.scale_length = 0.01

    source = build(tmp_path / "s", in_centimetres)
    for target in ("glb", "fbx", "obj", "usdc", "stl", "blend"):
        report = convert(tmp_path / target, source, target)
        for counts in (report["input"], report["output"]):
            assert counts["bounds_m"]["max"] == pytest.approx([0.3, 1.8, 0.25], abs=0.001)
