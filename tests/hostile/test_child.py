"""Models that attack the child: forbidden files, code in results, lines that crash an importer."""

import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

# A .blend whose nodes and image read a file, whose driver and text run Python, and which packs an image.
HOSTILE = """
import sys
import bpy
outside, target = sys.argv[1:]
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_cube_add()
cube = bpy.context.object
tree = bpy.data.node_groups.new("Reads", "GeometryNodeTree")
tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
text, curves, there = (
    tree.nodes.new(kind) for kind in ("GeometryNodeImportText", "GeometryNodeStringToCurves", "NodeGroupOutput")
)
text.inputs[0].default_value = outside
tree.links.new(text.outputs[0], curves.inputs[0])
tree.links.new(curves.outputs[0], there.inputs[0])
other = bpy.data.objects.new("Reads", bpy.data.meshes.new("Reads"))
bpy.context.scene.collection.objects.link(other)
other.modifiers.new("Reads", "NODES").node_group = tree
movie = bpy.data.images.new("movie", 4, 4)
movie.source, movie.filepath_raw = "MOVIE", outside
packed = bpy.data.images.new("packed.png", 4, 4)
packed.pack()
material = bpy.data.materials.new("Skin")
material.use_nodes = True
for image in (movie, packed):
    material.node_tree.nodes.new("ShaderNodeTexImage").image = image
cube.data.materials.append(material)
cube.driver_add("location", 0).driver.expression = "[print('ran'), 1.0][1]"
start = bpy.data.texts.new("start.py")
start.write("print('ran')")
start.use_module = True
bpy.ops.wm.save_as_mainfile(filepath=target)
"""

# Opens a result with scripts enabled, and prints its content.
OPEN = """
import sys
import bpy
bpy.ops.wm.open_mainfile(filepath=sys.argv[1], use_scripts=True)
print("DRIVERS", [len(item.animation_data.drivers) for item in bpy.data.objects if item.animation_data])
print("MARKED", [text.name for text in bpy.data.texts if text.use_module])
"""


def blender(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("hostile")
    # Readable for every user, so that only the sandbox protects it.
    path = folder / "a.blend"
    blender(HOSTILE, "/etc/passwd", str(path))
    return path.read_bytes()


def test_a_blend_reads_no_file_and_runs_no_code(gateway, hostile, tmp_path):
    with gateway.watched():
        answer = gateway.convert("a.blend", hostile, "blend")
        others = [gateway.convert("a.blend", hostile, target) for target in ("glb", "usdz", "obj")]
    assert [other.status for other in others] == [200] * 3
    assert answer.status == 200, answer.body[:500]
    report = gateway.get(answer.headers["link"].split("<")[1].split(">")[0]).json()
    assert "a file was not found: passwd" in report["warnings"]
    assert any("would run Python" in loss for loss in report["losses"])
    assert any("to run when the file is opened" in loss for loss in report["losses"])
    result = tmp_path / "result.blend"
    result.write_bytes(answer.body)
    said = blender(OPEN, str(result))
    assert "DRIVERS [0]" in said
    assert "MARKED []" in said
    assert "ran" not in said.split()
    content = zstandard.ZstdDecompressor().stream_reader(answer.body, read_across_frames=True).read()
    assert b"packed.png" in content
    for secret in (gateway.folder.name, str(Path(__file__).parents[2]), "root:x:0"):
        assert secret.encode() not in content


PLY = b"""ply
format ascii 1.0
comment %s
element vertex 3
property float x
property float y
property float z
element face 1
property list int int vertex_indices
end_header
0 0 0
1 0 0
0 1 0
%s
"""
LONG = {
    "a.ply": PLY % (b"x" * (1 << 20), b"3 0 1 2"),
    "b.ply": PLY % (b"a polygon", b"40000" + b" 1" * 40000),
    "c.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\n#" + b"x" * (1 << 20) + b"\nf 1 2 3\n",
}


@pytest.mark.parametrize("name", LONG)
def test_a_line_that_is_too_long_fails_with_one_sentence(gateway, name):
    before = gateway.log.read_text(errors="replace").count("a child crashed")
    with gateway.watched():
        answer = gateway.convert(name, LONG[name])
    assert (answer.status, answer.code) == (422, "import_failed")
    assert "KiB" in answer.json()["detail"]
    assert gateway.log.read_text(errors="replace").count("a child crashed") == before
