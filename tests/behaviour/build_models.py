"""Builds the models of these tests: `build_models.py FOLDER`. A program, since Blender loads only once per process."""
# ruff: noqa: E402

import sys
from pathlib import Path

BLENDER = Path(__file__).resolve().parents[2] / "blender"
sys.path += [str(BLENDER), str(BLENDER / "tests")]

import bpy
from gltf_models import DIRT, GLOW, LEAF, NORMAL, ORM, gltf
from helpers import build
from humans import person
from models import box, empty, keys, lively_figure, material, picture


def link(name: str, data: bpy.types.ID | None) -> bpy.types.Object:
    item = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(item)
    return item


def surfaces() -> None:
    """Features that few formats hold: curves, texts, metaballs, instances, modifiers, hidden objects."""
    tube = bpy.data.curves.new("Tube", "CURVE")
    tube.dimensions = "3D"
    tube.bevel_depth = 0.1
    tube.splines.new("POLY").points.add(1)
    tube.splines[0].points[1].co = (2, 0, 0, 1)
    link("Tube", tube)
    words = bpy.data.curves.new("Words", "FONT")
    words.body = "HI"
    link("Words", words)
    ball = bpy.data.metaballs.new("Ball")
    ball.elements.new().radius = 1
    link("Ball", ball)
    smooth = box("Smooth")
    smooth.modifiers.new("Subdivision", "SUBSURF").levels = 2
    smooth.data.materials.append(material("Wood", picture("wood.png")))
    box("Hidden").hide_render = True
    group = bpy.data.collections.new("Group")
    group.objects.link(bpy.data.objects.new("Inside", smooth.data))
    copy = link("Copy", None)
    copy.instance_type = "COLLECTION"
    copy.instance_collection = group
    copy.location.y = 3
    link("Cloud", bpy.data.pointclouds.new("Cloud"))
    link("Room", bpy.data.volumes.new("Room"))
    link("Grid", bpy.data.lattices.new("Grid"))


def motions() -> None:
    """Objects moved by keys, a constraint, a driver or a modifier; cameras and lights of each kind."""
    bpy.context.scene.render.fps = 24
    for kind in ("POINT", "SUN", "SPOT", "AREA"):
        light = link(kind.title(), bpy.data.lights.new(kind.title(), kind))
        light.data.energy = 100
        light.location.z = 3
    link("Camera", bpy.data.cameras.new("Camera")).location.y = -5
    keys(box("Moved"), "location", {1: 0.0, 11: 1.0, 24: 2.5})
    copier = box("Copier").constraints.new("COPY_LOCATION")
    copier.target = bpy.data.objects["Moved"]
    driven = box("Driven").driver_add("location", 0).driver
    driven.expression = "frame / 10"
    waving = box("Waving")
    waving.modifiers.new("Wave", "WAVE")
    child = empty("Child", (0, 0, 1))
    child.parent = bpy.data.objects["Moved"]


def materials(folder: Path) -> None:
    """A glTF whose material has a texture in every slot and most Khronos extensions."""
    extensions = {
        "KHR_materials_clearcoat": {"clearcoatFactor": 0.5},
        "KHR_materials_transmission": {"transmissionFactor": 0.3},
        "KHR_materials_sheen": {"sheenColorFactor": [0.2, 0.1, 0.0]},
        "KHR_materials_ior": {"ior": 1.3},
        "KHR_materials_emissive_strength": {"emissiveStrength": 3.0},
    }
    pbr = {"metallicRoughnessTexture": ORM, "roughnessFactor": 0.5}
    told = {"normalTexture": NORMAL | {"scale": 0.7}, "emissiveTexture": GLOW, "emissiveFactor": [1.0, 0.5, 0.2]}
    told |= {"occlusionTexture": DIRT | {"texCoord": 1}, "alphaMode": "MASK", "alphaCutoff": 0.4, "doubleSided": True}
    gltf(folder / "every", pbr, coloured=True, extensions=extensions, **told).rename(folder / "every.gltf")
    moved = {
        "baseColorTexture": LEAF | {"extensions": {"KHR_texture_transform": {"offset": [0.2, 0.1], "scale": [2, 2]}}}
    }
    gltf(folder / "leaf", moved, sampler={"wrapS": 33071}, alphaMode="BLEND").rename(folder / "leaf.gltf")
    for name in ("every", "leaf"):
        (folder / name).rmdir()


def main() -> None:
    folder = Path(sys.argv[1])
    for name, builder in (("figure", lively_figure), ("person", person), ("surfaces", surfaces), ("motions", motions)):
        build(folder, builder, f"{name}.blend")
    materials(folder)


if __name__ == "__main__":
    main()
