"""Finds features of materials beyond colours, metal and roughness."""

import bpy

from ..job import Job
from . import texture_usage

# The defaults of Blender 5.0 and of older files. Importers set more than ``MOST_IOR`` for a mirror.
_USUAL_IORS, MOST_IOR = (1.5, 1.45), 100.0

# Input of a Principled BSDF that is 0 without the feature -> name of the feature.
_INPUTS = {
    "Transmission Weight": "transmission",
    "Coat Weight": "clearcoat",
    "Sheen Weight": "sheen",
    "Anisotropic": "anisotropy",
    "Subsurface Weight": "subsurface scattering",
    "Thin Film Thickness": "iridescence",
}

# Input of a Principled BSDF that is white without the feature -> name of the feature.
_TINTS = {"Sheen Tint": "sheen colour", "Coat Tint": "clearcoat colour"}


def found_in(job: Job, material: bpy.types.Material) -> dict[str, bool]:
    """The features of a material -> whether a texture sets it."""
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
            if not job.source.phong:
                found |= _highlights(node.inputs)
    return found


def _inputs(inputs: bpy.types.NodeInputs) -> dict[str, bool]:
    found = {word: inputs[name].is_linked for name, word in _INPUTS.items() if _differs(inputs[name], 0.0)}
    for name, word in _TINTS.items():
        if _differs(inputs[name.replace("Tint", "Weight")], 0.0) and _differs(inputs[name], 1.0):
            found[word] = False
    if not _differs(inputs["Sheen Tint"], 0.0):
        # glTF's importer gives materials without sheen a black tint.
        found = {word: linked for word, linked in found.items() if not word.startswith("sheen")}
    return found


def _highlights(inputs: bpy.types.NodeInputs) -> dict[str, bool]:
    ior = inputs["IOR"]
    unusual_ior = not ior.is_linked and all(_differs(ior, usual) for usual in _USUAL_IORS)
    features = {
        "specular colour": _differs(inputs["Specular Tint"], 1.0),
        "specular strength": _differs(inputs["Specular IOR Level"], 0.5),
        "index of refraction": unusual_ior and ior.default_value < MOST_IOR,
    }
    return {word: False for word, is_used in features.items() if is_used}


def _differs(socket: bpy.types.NodeSocket, usual: float) -> bool:
    if socket.is_linked:
        return True
    value = socket.default_value
    return any(abs(one - usual) > 1e-3 for one in (value[:3] if hasattr(value, "__len__") else (value,)))
