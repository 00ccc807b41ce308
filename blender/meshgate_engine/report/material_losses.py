"""What materials are made of beyond colours, metal and roughness, and which targets have no place for it."""

from collections import Counter

import bpy

from ..formats import USD
from ..job import Job
from ..materials import texture_usage

_GLTF = {"glb", "vrm"}

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
    "Coat Tint": ("clearcoat colour", {"fbx"}),
}

# What nobody chose: now, and in files of older Blenders. More than any stuff has is what importers mirror light by.
_USUAL_IORS = (1.5, 1.45)
MOST_IOR = 100.0

# What USD itself has a place for, but Blender's exporter does not.
_UNWRITTEN = {"ambient occlusion", "specular colour"}

# glTF's extensions that its importer does not read -> what they are called, and the value that is nought without them.
_UNREAD = {
    "KHR_materials_iridescence": ("iridescence", "iridescenceFactor"),
    "KHR_materials_dispersion": ("dispersion", "dispersion"),
    "KHR_materials_diffuse_transmission": ("diffuse transmission", "diffuseTransmissionFactor"),
}


def tell(job: Job) -> None:
    """Says which of what the scene's materials have the target does not hold."""
    target = job.output_format
    lost = Counter()
    for material in texture_usage.materials(bpy.context.scene.objects):
        lost.update(word for word, holders in _found(job, material).items() if target not in holders)
    for word, count in sorted(lost.items()):
        why = "is written without" if target in USD and word in _UNWRITTEN else "holds none"
        job.lose(f"{losing(count, word)}: {target} {why}")


def tell_unread(job: Job, document: dict) -> None:
    """Says which of what the materials of a glTF document have is not read."""
    lost = Counter()
    for material in document.get("materials") or []:
        extensions = material.get("extensions") or {}
        found = {name: value for name, value in extensions.items() if isinstance(value, dict)}
        lost.update(word for name, (word, value) in _UNREAD.items() if found.get(name, {}).get(value))
    for word, count in sorted(lost.items()):
        job.lose(f"{losing(count, word)}: it is not read")


def has_ior(job: Job, material: bpy.types.Material) -> bool:
    """Whether an author chose by how much the material refracts."""
    return "index of refraction" in _found(job, material)


def losing(count: int, word: str) -> str:
    """That so many materials lose something, as a clause."""
    return f"{count} materials lose their {word}" if count > 1 else f"{count} material loses its {word}"


def _found(job: Job, material: bpy.types.Material) -> dict[str, set[str]]:
    """What a material has, each with the targets that hold it."""
    found = {}
    if material.node_tree is None:
        return found
    output = material.node_tree.get_output_node("ALL")
    if output and output.inputs["Volume"].is_linked:
        found["volume"] = _GLTF
    if texture_usage.occlusion_sockets(material):
        found["ambient occlusion"] = _GLTF
    for node in texture_usage.nodes([material]):
        if node.type == "BSDF_PRINCIPLED" and node.outputs[0].is_linked:
            found |= _inputs(node.inputs)
            if job.input_format not in _OTHER_HIGHLIGHTS:
                found |= _highlights(node.inputs)
    return found


def _inputs(inputs: bpy.types.NodeInputs) -> dict[str, set[str]]:
    found = {}
    for name, (word, holders) in _INPUTS.items():
        if _differs(inputs[name], 0.0):
            found[word] = holders - {"obj"} if inputs[name].is_linked else holders
    for name, (word, holders) in _TINTS.items():
        if _differs(inputs[name.replace("Tint", "Weight")], 0.0) and _differs(inputs[name], 1.0):
            found[word] = holders
    if not _differs(inputs["Sheen Tint"], 0.0):
        # glTF's importer makes a black one where there is none.
        found = {word: holders for word, holders in found.items() if not word.startswith("sheen")}
    return found


def _highlights(inputs: bpy.types.NodeInputs) -> dict[str, set[str]]:
    found = {}
    if _differs(inputs["Specular Tint"], 1.0):
        found["specular colour"] = _GLTF
    if _differs(inputs["Specular IOR Level"], 0.5):
        found["specular strength"] = _GLTF | {"fbx", "obj"}
    if _has_ior(inputs["IOR"]):
        found["index of refraction"] = USD | _GLTF | {"obj"}
    return found


def _has_ior(socket: bpy.types.NodeSocket) -> bool:
    unusual = all(_differs(socket, usual) for usual in _USUAL_IORS)
    return unusual and not socket.is_linked and socket.default_value < MOST_IOR


def _differs(socket: bpy.types.NodeSocket, usual: float) -> bool:
    if socket.is_linked:
        return True
    value = socket.default_value
    return any(abs(one - usual) > 1e-3 for one in (value[:3] if hasattr(value, "__len__") else (value,)))
