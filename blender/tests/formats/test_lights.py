"""Lights keep their colour and strength, however the source stores them."""

import bpy
import pytest
from helpers import build, convert
from meshgate_engine.formats import glb_container
from models import box


def _lamp(temperature: float, *, switched_on: bool) -> bpy.types.Light:
    box("Box")
    light = bpy.data.lights.new("Lamp", "POINT")
    light.color, light.energy = (0.9, 0.6, 0.3), 100.0
    light.use_temperature, light.temperature = switched_on, temperature
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("Lamp", light))
    return light


def _warm() -> None:
    _lamp(3000.0, switched_on=True)


def _warm_without() -> None:
    """The warm lamp, with its temperature folded into its colour."""
    warm = tuple(_lamp(3000.0, switched_on=True).temperature_color)
    light = bpy.data.lights["Lamp"]
    light.use_temperature = False
    light.color = [own * part for own, part in zip(light.color, warm, strict=True)]


def _switched_off() -> None:
    _lamp(3000.0, switched_on=False)


def _plain() -> None:
    _lamp(6500.0, switched_on=False)


def _light(path) -> tuple[list[float], list[float]]:
    """The colour of a light, and its strength in each channel."""
    document, _buffer = glb_container.load(path)
    (light,) = document["extensions"]["KHR_lights_punctual"]["lights"]
    colour = light.get("color", [1.0, 1.0, 1.0])
    return colour, [value * light["intensity"] for value in colour]


@pytest.mark.parametrize("way", [["glb"], ["usdz", "glb"]])
@pytest.mark.parametrize(("builder", "like"), [(_warm, _warm_without), (_switched_off, _plain)])
def test_lights_keep_colour_and_strength(tmp_path, builder, like, way):
    shone = []
    for name, made in (("a", builder), ("b", like)):
        source = build(tmp_path / name, made)
        for target in way if made is builder else ["glb"]:
            report = convert(tmp_path / name / target, source, target)
            source = tmp_path / name / target / f"out/model.{target}"
            assert report["output"]["lights"] == 1
        shone.append(_light(source))
    assert max(shone[0][0]) <= 1.0
    assert shone[0][1] == pytest.approx(shone[1][1], rel=1e-4)
