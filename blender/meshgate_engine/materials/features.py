"""What materials are made of beyond colours, metal and roughness."""

import bpy

from ..job import Job
from . import texture_usage

# Formats whose own shading has other highlights, so that importers make up what is none of the author's.
_OTHER_HIGHLIGHTS = {"fbx", "obj"}

# A shader's input that is nought without the feature -> what the feature is called.
_INPUTS = {
    "Transmission Weight": "transmission",
    "Coat Weight": "clearcoat",
    "Sheen Weight": "sheen",
    "Anisotropic": "anisotropy",
    "Subsurface Weight": "subsurface scattering",
    "Thin Film Thickness": "iridescence",
}

# A shader's input that is white without the feature -> what the feature is called.
_TINTS = {
    "Sheen Tint": "sheen colour",
    "Coat Tint": "clearcoat colour",
}

# What nobody chose: now, and in files of older Blenders. More than any stuff has is what importers mirror light by.
_USUAL_IORS = (1.5, 1.45)
MOST_IOR = 100.0


def has_ior(job: Job, material: bpy.types.Material) -> bool:
    """Whether an author chose by how much the material refracts."""
    return "index of refraction" in found_in(job, material)


def found_in(job: Job, material: bpy.types.Material) -> dict[str, bool]:
    """The features of a material, each with whether it is a texture."""
    found = {}
    if material.node_tree is None:
        return found
    output = material.node_tree.get_output_node("ALL")
    if output and output.inputs["Volume"].is_linked:
        found["volume"] = False
    if texture_usage.occlusion_sockets(material):
        found["ambient occlusion"] = False
    for node in texture_usage.nodes([material]):
        if node.type == "BSDF_PRINCIPLED" and node.outputs[0].is_linked:
            found |= _inputs(node.inputs)
            if job.input_format not in _OTHER_HIGHLIGHTS:
                found |= _highlights(node.inputs)
    return found


def _inputs(inputs: bpy.types.NodeInputs) -> dict[str, bool]:
    found = {}
    for name, word in _INPUTS.items():
        if _differs(inputs[name], 0.0):
            found[word] = inputs[name].is_linked
    for name, word in _TINTS.items():
        if _differs(inputs[name.replace("Tint", "Weight")], 0.0) and _differs(inputs[name], 1.0):
            found[word] = False
    if not _differs(inputs["Sheen Tint"], 0.0):
        # glTF's importer makes a black one where there is none.
        found = {word: linked for word, linked in found.items() if not word.startswith("sheen")}
    return found


def _highlights(inputs: bpy.types.NodeInputs) -> dict[str, bool]:
    found = {}
    if _differs(inputs["Specular Tint"], 1.0):
        found["specular colour"] = False
    if _differs(inputs["Specular IOR Level"], 0.5):
        found["specular strength"] = False
    if _has_ior(inputs["IOR"]):
        found["index of refraction"] = False
    return found


def _has_ior(socket: bpy.types.NodeSocket) -> bool:
    unusual = all(_differs(socket, usual) for usual in _USUAL_IORS)
    return unusual and not socket.is_linked and socket.default_value < MOST_IOR


def _differs(socket: bpy.types.NodeSocket, usual: float) -> bool:
    if socket.is_linked:
        return True
    value = socket.default_value
    return any(abs(one - usual) > 1e-3 for one in (value[:3] if hasattr(value, "__len__") else (value,)))
