"""The materials, nodes and images that the model uses."""

from collections.abc import Iterable, Iterator

import bpy

from ..blender_api import scene

# Inputs that glTF keeps in the channels of one image.
_ONE_IMAGE = (("Metallic", "Roughness"), ("Base Color", "Alpha"))


def materials(objects: Iterable[bpy.types.Object]) -> set[bpy.types.Material]:
    """The materials that the objects use."""
    return {slot.material for item in objects for slot in item.material_slots if slot.material}


def scene_materials() -> set[bpy.types.Material]:
    """The materials that the scene uses."""
    return materials(scene.objects())


def scene_images() -> set[bpy.types.Image]:
    """The images that the scene's materials use."""
    return images(scene_materials())


def images(used: Iterable[bpy.types.Material]) -> set[bpy.types.Image]:
    """The images that the materials use, those in node groups included."""
    return {node.image for node in nodes(used) if node.type in {"TEX_IMAGE", "TEX_ENVIRONMENT"} and node.image}


def nodes(used: Iterable[bpy.types.Material]) -> Iterator[bpy.types.ShaderNode]:
    """The nodes of the materials, those in node groups included, each once."""
    trees = [material.node_tree for material in used if material.node_tree]
    seen = set()
    while trees:
        tree = trees.pop()
        if tree not in seen:
            seen.add(tree)
            yield from tree.nodes
            trees += [node.node_tree for node in tree.nodes if node.type == "GROUP" and node.node_tree]


def merged_by_gltf() -> int:
    """How many of the scene's images disappear when glTF's exporter merges those that it keeps as channels of one."""
    sets: list[set[bpy.types.Image]] = []
    for material in scene_materials():
        nodes = material.node_tree.nodes if material.node_tree else ()
        shader = next((node for node in nodes if node.type == "BSDF_PRINCIPLED"), None)
        if shader is None:
            continue
        for names in _ONE_IMAGE:
            found = [_images_into(shader.inputs[name]) for name in names]
            together = set().union(*found)
            if all(len(each) == 1 for each in found) and len(together) > 1:
                sets = _joined(sets, together)
        for socket in occlusion_sockets(material):
            # Occlusion joins metal or roughness if the images have one size.
            found = [_images_into(each) for each in (socket, *(shader.inputs[name] for name in _ONE_IMAGE[0]))]
            together = set().union(*found)
            if found[0] and len(together) > len(found[0]) and len({tuple(image.size) for image in together}) == 1:
                sets = _joined(sets, together)
    return sum(len(each) - 1 for each in sets)


def _joined(sets: list[set[bpy.types.Image]], more: set[bpy.types.Image]) -> list[set[bpy.types.Image]]:
    touching = [other for other in sets if other & more]
    return [other for other in sets if other not in touching] + [more.union(*touching)]


def occlusion_sockets(material: bpy.types.Material) -> list[bpy.types.NodeSocket]:
    """The linked sockets for ambient occlusion, in the group that glTF's add-on uses for it."""
    nodes = material.node_tree.nodes if material.node_tree else ()
    sockets = (node.inputs.get("Occlusion") for node in nodes if node.type == "GROUP")
    return [socket for socket in sockets if socket and socket.is_linked]


def _images_into(socket: bpy.types.NodeSocket) -> set[bpy.types.Image]:
    """The images that a socket's value depends on."""
    return {node.image for node in image_nodes(socket)}


def image_nodes(socket: bpy.types.NodeSocket) -> list[bpy.types.ShaderNodeTexImage]:
    """The image nodes that a socket's value depends on, nearest first."""
    found: dict[bpy.types.ShaderNode, None] = {}
    waiting = [socket]
    while waiting:
        for link in waiting.pop(0).links:
            if link.from_node not in found:
                found[link.from_node] = None
                # The input of an image node is UVs, not a colour.
                waiting += [] if link.from_node.type == "TEX_IMAGE" else link.from_node.inputs
    return [node for node in found if node.type == "TEX_IMAGE" and node.image]
