"""What materials are made of beyond colours, metal and roughness, and which targets have no place for it."""

from collections import Counter
from collections.abc import Iterable

import bpy

from . import textures
from .formats import USD
from .job import Job

_GLTF = {"glb", "vrm"}
_TARGETS = USD | _GLTF | {"fbx", "obj"}

# Formats whose own shading has other highlights, so that importers make up what is none of the author's.
_OTHER_HIGHLIGHTS = {"fbx", "obj"}

# A shader's input that is nought without it -> what it is called, and the targets that hold it, of which obj holds no
# texture of it.
_INPUTS = {
    "Transmission Weight": ("transmission", _GLTF | {"obj"}),
    "Coat Weight": ("clearcoat", USD | _GLTF | {"obj"}),
    "Sheen Weight": ("sheen", _GLTF | {"obj"}),
    "Anisotropic": ("anisotropy", _GLTF | {"obj"}),
    "Subsurface Weight": ("subsurface scattering", set()),
    "Thin Film Thickness": ("iridescence", set()),
}

# Inputs that tint, white without it.
_TINTS = {
    "Sheen Tint": ("sheen colour", USD | _GLTF | {"fbx"}),
    "Specular Tint": ("specular colour", _GLTF),
    "Coat Tint": ("clearcoat colour", {"fbx"}),
}

# glTF's extensions that its importer does not read -> what they are called, and the value that is nought without them.
_UNREAD = {
    "KHR_materials_iridescence": ("iridescence", "iridescenceFactor"),
    "KHR_materials_dispersion": ("dispersion", "dispersion"),
    "KHR_materials_diffuse_transmission": ("diffuse transmission", "diffuseTransmissionFactor"),
}


def tell(job: Job) -> None:
    """Says which of what the scene's materials have the target does not hold."""
    target = job.output_format
    if target not in _TARGETS or (target == "obj" and job.packaging == "single"):
        return
    lost = Counter()
    for material in textures.materials(bpy.context.scene.objects):
        if material.node_tree:
            lost.update({word for word, holders in _found(job, material) if target not in holders})
    for word, count in sorted(lost.items()):
        job.lose(f"{_lose(count, word)}: {target} holds none")


def tell_unread(job: Job, document: dict) -> None:
    """Says which of what the materials of a glTF document have is not read."""
    lost = Counter()
    for material in document.get("materials") or []:
        extensions = material.get("extensions") or {}
        lost.update(word for name, (word, value) in _UNREAD.items() if (extensions.get(name) or {}).get(value))
    for word, count in sorted(lost.items()):
        job.lose(f"{_lose(count, word)}: it is not read")


def _lose(count: int, word: str) -> str:
    return f"{count} materials lose their {word}" if count > 1 else f"{count} material loses its {word}"


def _found(job: Job, material: bpy.types.Material) -> Iterable[tuple[str, set[str]]]:
    """What a material has, each with the targets that hold it."""
    output = material.node_tree.get_output_node("ALL")
    nodes = list(_nodes(material.node_tree))
    if output and output.inputs["Volume"].is_linked:
        yield "volume", _GLTF
    for node in nodes:
        if node.type == "GROUP" and "Occlusion" in node.inputs and node.inputs["Occlusion"].is_linked:
            # That of glTF's importer.
            yield "ambient occlusion", _GLTF
        if node.type != "BSDF_PRINCIPLED" or not node.outputs[0].is_linked:
            continue
        for name, found in _INPUTS.items():
            if node.inputs[name].is_linked:
                yield found[0], found[1] - {"obj"}
            elif node.inputs[name].default_value > 1e-4:
                yield found
        for name, found in _TINTS.items():
            weight = node.inputs.get(name.replace("Tint", "Weight"))
            is_there = weight is None or weight.is_linked or weight.default_value > 1e-4
            if is_there and (node.inputs[name].is_linked or min(node.inputs[name].default_value) < 0.999):
                yield found
        level = node.inputs["Specular IOR Level"]
        if job.input_format not in _OTHER_HIGHLIGHTS and (level.is_linked or abs(level.default_value - 0.5) > 1e-3):
            yield "specular strength", _GLTF | {"fbx", "obj"}


def _nodes(tree: bpy.types.NodeTree) -> Iterable[bpy.types.ShaderNode]:
    seen, waiting = set(), [tree]
    while waiting:
        tree = waiting.pop()
        if tree in seen:
            continue
        seen.add(tree)
        for node in tree.nodes:
            yield node
            if node.type == "GROUP" and node.node_tree:
                waiting.append(node.node_tree)
