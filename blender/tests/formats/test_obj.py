"""Names in a model cannot inject statements into an OBJ."""

from helpers import build, convert
from models import box, material


def _named(name: str):
    def builder() -> None:
        item = box(name)
        item.data.name = name
        item.data.materials.append(material(name))

    return builder


def test_material_names_cannot_inject_obj_statements(tmp_path):
    name = "b\nmap_Kd\t/etc/passwd\nmtllib\t/etc/passwd\nf\t1\t2\t3"
    report = convert(tmp_path / "c", build(tmp_path, _named(name)), "obj")
    for path in (tmp_path / "c/out").iterdir():
        statements = {line.split()[0] for line in path.read_text().splitlines() if line.split()}
        assert not statements & {"map_Kd"}, path
        assert "/etc/passwd" not in path.read_text().split(), path
    assert report["output"]["triangles"] == report["input"]["triangles"] == 12
    assert report["output"]["missing_textures"] == []


def test_a_backslash_in_a_name_does_not_continue_the_line(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, _named("b\\")), "obj")
    assert report["output"]["triangles"] == 12
    assert report["output"]["materials"] == 1


def test_a_renamed_material_keeps_its_tint(tmp_path):
    def builder() -> None:
        from models import picture

        item = box("Box")
        made = material("a\tb", picture())
        mix = made.node_tree.nodes.new("ShaderNodeMix")
        mix.data_type, mix.blend_type = "RGBA", "MULTIPLY"
        mix.inputs["Factor"].default_value = 1.0
        image = next(node for node in made.node_tree.nodes if node.type == "TEX_IMAGE")
        shader = made.node_tree.nodes["Principled BSDF"]
        mix.inputs[7].default_value = (0.5, 0.25, 1.0, 1.0)
        made.node_tree.links.new(image.outputs["Color"], mix.inputs[6])
        made.node_tree.links.new(mix.outputs[2], shader.inputs["Base Color"])
        item.data.materials.append(made)

    convert(tmp_path / "c", build(tmp_path, builder), "obj")
    library = next((tmp_path / "c/out").glob("*.mtl")).read_text()
    assert "newmtl a_b" in library and "Kd 0.5" in library, library
