"""Curves, texts and other surfaces become meshes, and instances become objects."""

import bpy
import pytest
from helpers import build, convert, in_child
from meshgate_engine.errors import ConversionError
from models import box, clip, material, skinned_figure


def _link(name: str, data: bpy.types.ID | None) -> bpy.types.Object:
    item = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(item)
    return item


def _tube(name: str = "Tube") -> bpy.types.Object:
    """A straight pipe of 2 m, which is a curve with a bevel."""
    curve = bpy.data.curves.new(name, "CURVE")
    curve.dimensions = "3D"
    curve.bevel_depth = 0.1
    spline = curve.splines.new("POLY")
    spline.points.add(1)
    spline.points[1].co = (2, 0, 0, 1)
    return _link(name, curve)


def _text() -> None:
    words = bpy.data.curves.new("Words", "FONT")
    words.body = "HI"
    words.materials.append(material("Ink"))
    _link("Words", words)


def _metaballs() -> None:
    for number in range(2):
        ball = bpy.data.metaballs.new("Ball")
        ball.elements.new().radius = 1
        _link("Ball", ball).location.x = 1.2 * number


def _tube_and_box() -> None:
    box("Box").parent = _tube()


def _tube_on_a_box() -> None:
    _tube().parent = box("Box")


@pytest.mark.parametrize("target", ["glb", "fbx", "usda", "abc", "obj", "stl"])
@pytest.mark.parametrize("builder", [_tube, _text, _metaballs, _tube_and_box, _tube_on_a_box])
def test_surfaces_other_than_meshes_are_written_once(tmp_path, builder, target):
    report = convert(tmp_path / "c", build(tmp_path, builder), target)
    before, after = report["input"], report["output"]
    assert before["meshes"] == (2 if builder in {_tube_and_box, _tube_on_a_box} else 1)
    assert after["meshes"] == (1 if target == "stl" else before["meshes"])
    assert after["triangles"] == before["triangles"] > 0
    for corner in ("min", "max"):
        assert after["bounds_m"][corner] == pytest.approx(before["bounds_m"][corner], abs=1e-4)
    assert report["losses"] == report["warnings"] == []


def _moving_tube() -> None:
    tube = _tube()
    child = box("Box")
    child.parent, child.location.z = tube, 3.0
    for frame, place in ((1, 0.0), (31, 3.0)):
        tube.location.x = place
        tube.keyframe_insert("location", frame=frame)


def _tree(path: str) -> dict:
    from meshgate_engine import formats
    from meshgate_engine.job import Job

    target = path.rpartition(".")[2]
    formats.module(target).read(Job(path, target, path, target))
    bpy.context.scene.frame_set(bpy.context.scene.frame_end)
    return {
        item.name: (item.type, item.parent and item.parent.name, round(item.matrix_world.translation.x, 3))
        for item in bpy.context.scene.objects
    }


def test_a_curve_keeps_its_name_clip_and_children(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _moving_tube), "glb")
    assert [clip["frames"] for clip in report["input"]["clips"]] == [31]
    assert [clip["frames"] for clip in report["output"]["clips"]] == [31]
    tree = in_child(_tree, str(tmp_path / "c/out/model.glb"))
    assert tree["Tube"][:2] == ("MESH", None)
    assert tree["Box"][:2] == ("MESH", "Tube")


def _bent_box() -> None:
    tube = _tube()
    tube.data.splines[0].points[1].co = (0, 0, 4, 1)
    modifier = box("Box", (0, -0.1, -0.1), (2, 0.1, 0.1)).modifiers.new("Along", "CURVE")
    modifier.object = tube


def test_a_mesh_bent_along_a_curve_stays_bent(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _bent_box), "stl")
    assert report["output"]["bounds_m"]["max"] == pytest.approx([0.1, 4.0, 0.1], abs=1e-3)
    assert report["output"]["bounds_m"]["min"][0] == pytest.approx(-0.1, abs=1e-3)


def _skinned_tube() -> None:
    rig = skinned_figure()
    _tube().modifiers.new("Armature", "ARMATURE").object = rig


def test_the_lost_skin_of_a_curve_is_reported(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _skinned_tube), "glb")
    assert report["losses"] == ["the skin of Tube: it is not a mesh in the source"]
    assert (report["output"]["meshes"], report["output"]["skins"]) == (2, 1)


def _path_and_box() -> None:
    _tube().data.bevel_depth = 0.0
    box("Box")


@pytest.mark.parametrize("target", ["glb", "usda", "stl"])
def test_a_curve_without_a_surface_does_not_become_a_mesh(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _path_and_box), target)
    assert report["input"]["meshes"] == report["output"]["meshes"] == 1


def _path() -> None:
    _tube().data.bevel_depth = 0.0


def _hair() -> None:
    bpy.ops.object.curves_random_add()


@pytest.mark.parametrize(("builder", "target"), [(_path, "obj"), (_path, "abc"), (_hair, "abc"), (_path, "usda")])
def test_formats_with_curves_keep_them(tmp_path, builder, target):
    report = convert(tmp_path / "c", build(tmp_path, builder), target)
    assert report["input"]["meshes"] == 0
    kinds = [kind for kind, _parent, _place in in_child(_tree, str(tmp_path / f"c/out/model.{target}")).values()]
    assert "CURVES" in kinds or (target == "obj" and kinds == ["MESH"])
    assert report["losses"] == []


def test_a_blend_keeps_its_curves(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _tube), "blend")
    assert report["input"] == report["output"]
    assert report["output"]["meshes"] == 1
    assert in_child(_tree, str(tmp_path / "c/out/model.blend"))["Tube"][0] == "CURVE"


def _collection(item: bpy.types.Object) -> bpy.types.Collection:
    made = bpy.data.collections.new("Parts")
    for each in (item, *item.children):
        made.objects.link(each)
        bpy.context.scene.collection.objects.unlink(each)
    return made


def _instance(of: bpy.types.Collection, name: str) -> bpy.types.Object:
    made = _link(name, None)
    made.instance_type, made.instance_collection = "COLLECTION", of
    return made


def _instanced() -> None:
    """A box in nested collection instances, both collections with an offset."""
    inner = _collection(box("Box", (3, 0, 0), (4, 1, 1)))
    inner.instance_offset = (3, 0, 0)
    holder = _instance(inner, "Inner")
    holder.location.z = 1
    outer = _collection(holder)
    _instance(outer, "Outer").location.z = 1


def _instanced_from_an_excluded_collection() -> None:
    parts = _collection(box("Box", (0, 0, 0), (1, 1, 1)))
    bpy.context.scene.collection.children.link(parts)
    bpy.context.view_layer.layer_collection.children["Parts"].exclude = True
    _instance(parts, "Here").location.z = 2
    _instance(parts, "Hidden").hide_viewport = True


def _nodes_that_put(thing: bpy.types.Object | None) -> bpy.types.NodeTree:
    """Nodes that put a cube, or an object, on each point."""
    tree = bpy.data.node_groups.new("Put", "GeometryNodeTree")
    for way in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
    first, last = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    put = tree.nodes.new("GeometryNodeInstanceOnPoints")
    if thing is None:
        cube = tree.nodes.new("GeometryNodeMeshCube")
        tree.links.new(cube.outputs["Mesh"], put.inputs["Instance"])
    else:
        found = tree.nodes.new("GeometryNodeObjectInfo")
        found.inputs["Object"].default_value = thing
        found.inputs["As Instance"].default_value = True
        tree.links.new(found.outputs["Geometry"], put.inputs["Instance"])
    tree.links.new(first.outputs[0], put.inputs["Points"])
    tree.links.new(put.outputs[0], last.inputs[0])
    return tree


def _scattered() -> None:
    box("Ground", (0, 0, 0), (4, 4, 4)).modifiers.new("Nodes", "NODES").node_group = _nodes_that_put(None)


def _scattered_objects() -> None:
    leaf = box("Leaf", (0, 0, 0), (0.5, 0.5, 0.5))
    leaf.data.materials.append(material("Green"))
    leaf.hide_viewport = True
    box("Ground", (0, 0, 0), (4, 4, 4)).modifiers.new("Nodes", "NODES").node_group = _nodes_that_put(leaf)


def _on_each_vertex() -> None:
    ground = box("Ground", (1, 1, 1), (4, 4, 4))
    ground.instance_type = "VERTS"
    ground.show_instancer_for_viewport = False
    box("Leaf", (0, 0, 0), (0.5, 0.5, 0.5)).parent = ground


@pytest.mark.parametrize("target", ["glb", "fbx", "usda", "abc", "obj", "stl"])
@pytest.mark.parametrize(
    ("builder", "meshes", "high"),
    [
        (_instanced, 1, [1, 3, 0]),
        (_instanced_from_an_excluded_collection, 1, [1, 3, 0]),
        (_scattered, 8, [4.5, 4.5, 0.5]),
        (_scattered_objects, 8, [4.5, 4.5, 0]),
        (_on_each_vertex, 9, [4.5, 4.5, 0]),
    ],
)
def test_instances_become_objects(tmp_path, builder, meshes, high, target):
    report = convert(tmp_path / "c", build(tmp_path, builder), target)
    before, after = report["input"], report["output"]
    assert before["meshes"] == meshes
    assert after["meshes"] == (1 if target == "stl" else meshes)
    assert before["triangles"] == after["triangles"] == 12 * meshes
    assert before["materials"] == (1 if builder is _scattered_objects else 0)
    assert before["bounds_m"]["max"] == pytest.approx(high, abs=1e-4)
    assert after["bounds_m"]["max"] == pytest.approx(high, abs=1e-4)
    assert report["losses"] == []


def _figures() -> None:
    rig = skinned_figure()
    clip(rig, "Nod", 31).use_fake_user = True
    clip(rig, "Walk", 16).use_fake_user = True
    parts = _collection(rig)
    for number in range(2):
        _instance(parts, f"Place{number}").location.x = 2 * number


@pytest.mark.parametrize("target", ["glb", "fbx"])
def test_instances_of_a_skeleton_get_their_own_skeletons(tmp_path, target):
    report = convert(tmp_path / "c", build(tmp_path, _figures), target)
    after = report["output"]
    assert report["input"]["skins"] == after["skins"] == 2
    assert [each["name"] for each in after["clips"]] == ["Nod", "Walk"]
    assert after["bounds_m"]["max"][0] == pytest.approx(2.3, abs=1e-3)
    assert report["losses"] == []


def _copies() -> None:
    """36 boxes: 4 objects sharing a mesh that a modifier repeats, and 20 in 5 instances of a collection."""
    first = box("Box")
    first.modifiers.new("Array", "ARRAY").count = 4
    for index in range(3):
        item = _link(f"Copy{index}", first.data)
        item.modifiers.new("Array", "ARRAY").count = 4
    family = bpy.data.collections.new("Family")
    for index in range(4):
        member = bpy.data.objects.new(f"Member{index}", first.data)
        family.objects.link(member)
    for index in range(5):
        holder = _link(f"Family{index}", None)
        holder.instance_type, holder.instance_collection = "COLLECTION", family
        holder.location.x = index


@pytest.mark.parametrize("target", ["stl", "ply", "obj", "usda"])
def test_a_model_with_too_many_copies_is_refused_before_writing(tmp_path, target):
    source = build(tmp_path, _copies)
    report = convert(tmp_path / "c", source, target, most_triangles=36 * 12)
    assert report["input"]["triangles"] == 36 * 12
    with pytest.raises(ConversionError) as refused:
        convert(tmp_path / "d", source, target, most_triangles=36 * 12 - 1)
    assert refused.value.code == "output_too_large"
    assert not list((tmp_path / "d/out").iterdir())
