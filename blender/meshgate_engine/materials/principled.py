"""Rewires materials as exporters expect them: a Principled BSDF with images linked directly to its sockets.

Importers and authors put nodes in between: a colour or vertex colours that tint the image, one channel of it, an
unlit shader. The exporters of FBX and OBJ leave out images behind such nodes, and USD's ignores the nodes. glTF's
understands all of them except those that USD's importer makes.
"""

from collections import Counter

import bpy

from ..blender_api import scene
from ..job import Job, counted
from . import features, node_trace, texture_baking, texture_usage

_COLOURS = ("Base Color", "Emission Color")
# Operations of math nodes that make alpha either 0 or 1.
_CUTOFFS = {"ROUND", "GREATER_THAN", "LESS_THAN"}


def link_images_directly(job: Job) -> dict[bpy.types.Image, bpy.types.Image]:
    """Rewires all materials for the target, and reports what it cannot hold.

    Returns the images that were made -> the image that each is a channel of. Colours that tint textures are in
    ``job.tints`` afterwards, except for USD and glTF, which hold them beside a texture.
    """
    baked = texture_baking.BakedImages()
    counts = Counter()
    for material in texture_usage.scene_materials():
        if material.node_tree and material.is_editable:
            made = _Material(job, material, baked, counts)
            if job.target.uses_gltf_exporter:
                made.tint_for_gltf()
            else:
                made.link_images_directly()
    _report(job, counts)
    return baked.made


def _report(job: Job, counts: Counter) -> None:
    if counts["tinted"]:
        # Readers differ in what they do with a texture and a colour.
        verb, beside = ("s that tint", "them") if counts["tinted"] > 1 else (" that tints", "it")
        both = f"not every reader of {job.output_format} multiplies them"
        job.warn(f"the colour{verb} {counted(counts['tinted'], 'texture')} came out beside {beside}: {both}")
    job.lose("texture tint", counts["vertex coloured"], "no mix")
    job.lose("texture nodes", counts["other nodes"], "as they are")
    job.lose("feature", counts["cut off"], "no cutoff", name="sharp edges of alpha")
    job.lose("unlit", counts["unlit"], "lit only")


class _Material:
    def __init__(
        self, job: Job, material: bpy.types.Material, baked: texture_baking.BakedImages, counts: Counter
    ) -> None:
        self.job, self.material, self.tree = job, material, material.node_tree
        self.baked, self.counts = baked, counts
        self.trace = node_trace.Trace()
        self.target = job.target

    def link_images_directly(self) -> None:
        output = self.tree.get_output_node("ALL")
        found = list(self.trace.shaders(output.inputs["Surface"], ())) if output else []
        shader = next((each for each in found if each[0].type == "BSDF_PRINCIPLED"), None)
        coloured = (each for each in found if each[0].type != "BSDF_TRANSPARENT" and each[0].inputs.get("Color"))
        shader = shader or next(coloured, None)
        if shader is None:
            return
        node, groups = shader
        principled = node
        if node.type != "BSDF_PRINCIPLED" or groups:
            source = self.trace.source(node.inputs.get("Base Color") or node.inputs["Color"], groups)
            if source.image is None and source.has_other_nodes:
                # Its colour is neither an image nor plain.
                return
            principled = self._principled(node)
        if found[0][0] != principled:
            self._keep_alpha(found, principled)
            self.tree.links.new(principled.outputs["BSDF"], output.inputs["Surface"])
        for name in _COLOURS:
            self.trace.restart()
            socket = node.inputs.get(name) or (node.inputs.get("Color") if name == "Base Color" else None)
            if socket and socket.is_linked:
                source = self.trace.source(socket, groups)
                vrm = getattr(self.material, "vrm_addon_extension", None)
                if name == "Base Color" and vrm is not None and vrm.mtoon1.enabled:
                    # The VRM add-on keeps the tint in the value that the link hides.
                    source = source.times(node_trace.Source(factor=node_trace.rgb(socket.default_value)))
                strength = node.inputs.get("Emission Strength")
                if (
                    name == "Emission Color"
                    and source.image
                    and not self.target.emission_strength
                    and not strength.is_linked
                ):
                    # The exporters of OBJ and USD write no strength beside a texture.
                    source = source.times(node_trace.Source(factor=node_trace.rgb(strength.default_value)))
                self._link_colour(source, principled.inputs[name], socket)
        for name in self.target.textured_values:
            self.trace.restart()
            socket = node.inputs.get(name)
            if socket and socket.is_linked:
                source = self.trace.source(socket, groups)
                if not self.target.image_channels or principled is not node or source.factor != node_trace.WHITE:
                    self._link_value(source, principled.inputs[name], name)
        alpha = principled.inputs["Alpha"] if principled.inputs["Alpha"].is_linked else node.inputs.get("Alpha")
        if alpha and alpha.is_linked:
            self._link_alpha(alpha, groups, principled.inputs["Alpha"])
        if not self.target.highlight_tints:
            _fold_tints(principled.inputs)
        if not self.target.normal_strength:
            self._bake_normal_strength(principled.inputs["Normal"])

    def _principled(self, node: bpy.types.ShaderNode) -> bpy.types.ShaderNode:
        """A new Principled BSDF with the values of another shader, or of one in a group."""
        made = self.tree.nodes.new("ShaderNodeBsdfPrincipled")
        if node.type == "EMISSION":
            made.inputs["Roughness"].default_value = 1.0
            made.inputs["Specular IOR Level"].default_value = 0.0
            self.counts["unlit"] += 1
        for socket in node.inputs:
            to = made.inputs.get("Base Color" if socket.name == "Color" else socket.name)
            if to and hasattr(socket, "default_value") and to.type == socket.type:
                to.default_value = socket.default_value
        return made

    def _keep_alpha(self, found: list[tuple], principled: bpy.types.ShaderNode) -> None:
        """Links the factor of a mix with a transparent shader to alpha."""
        if principled.inputs["Alpha"].is_linked:
            return
        for node in [node for node, groups in found if node.type == "MIX_SHADER" and not groups]:
            if node.inputs[0].is_linked and node.inputs[1].is_linked:
                factor, shader = node.inputs[0].links[0].from_socket, node.inputs[1].links[0].from_node
                if shader.type == "BSDF_TRANSPARENT" and factor.node.type != "LIGHT_PATH":
                    self.tree.links.new(factor, principled.inputs["Alpha"])
                    return

    def _link_colour(self, source: node_trace.Source, to: bpy.types.NodeSocket, socket: bpy.types.NodeSocket) -> None:
        tint = max(abs(one - 1.0) for one in source.factor) > 1e-6
        plain = not (tint or source.vertex_coloured or source.has_other_nodes or source.channel is not None)
        if plain and to == socket and socket.links[0].from_node == source.image:
            if not self.job.source.phong:
                # Exporters write the colour that the link hides, and readers multiply by it.
                to.default_value = (*node_trace.WHITE, 1.0)
            return
        if source.image is None or max(source.factor) < 1e-6:
            if not source.has_other_nodes:
                scene.unlink_socket(to)
                to.default_value = (*source.factor, 1.0)
            return
        self.counts["vertex coloured"] += source.vertex_coloured
        self.counts["other nodes"] += source.has_other_nodes
        made = None if source.channel is None else self.baked.channel(source.image.image, source.channel)
        colour = self._copy_node(source.image, made).outputs["Color"]
        if tint and self.target.texture_tints:
            # USD's exporter writes this node as the texture's scale.
            scale = self.tree.nodes.new("ShaderNodeVectorMath")
            scale.operation = "MULTIPLY_ADD"
            self.tree.links.new(colour, scale.inputs[0])
            scale.inputs[1].default_value, scale.inputs[2].default_value = source.factor, (0.0, 0.0, 0.0)
            colour = scale.outputs["Vector"]
        elif tint:
            self.counts["tinted"] += 1
            self.job.tints[self.material.name, to.name] = source.factor
        self.tree.links.new(colour, to)
        to.default_value = (*source.factor, 1.0)

    def tint_for_gltf(self) -> None:
        """Replaces the scales of USD's textures by the mix nodes that glTF's exporter reads."""
        for shader in [node for node in self.tree.nodes if node.type == "BSDF_PRINCIPLED"]:
            scaled = [shader.inputs[name] for name in _COLOURS if shader.inputs[name].is_linked]
            for socket in [each for each in scaled if each.links[0].from_node.type == "VECT_MATH"]:
                source = self.trace.source(socket, ())
                if source.is_tinted_image and source.channel is None:
                    mix = self.tree.nodes.new("ShaderNodeMix")
                    mix.data_type, mix.blend_type = "RGBA", "MULTIPLY"
                    factor, one, two = (each for each in mix.inputs if each.enabled)
                    factor.default_value, two.default_value = 1.0, (*source.factor, 1.0)
                    self.tree.links.new(source.image.outputs["Color"], one)
                    self.tree.links.new(next(each for each in mix.outputs if each.enabled), socket)

    def _link_value(self, source: node_trace.Source, to: bpy.types.NodeSocket, name: str) -> None:
        node, factor = source.image, source.factor[0]
        if not source.is_tinted_image:
            return
        if factor == 0.0:
            scene.unlink_socket(to)
            to.default_value = 0.0
            return
        if source.channel is not None or factor != 1.0:
            file_name = name.removesuffix(" IOR Level").replace(" ", "_").lower()
            made = self.baked.channel(node.image, source.channel, factor, file_name)
            if made is None:
                return
            node = self._copy_node(node, made)
        elif node.id_data != self.tree:
            node = self._copy_node(node)
        self.tree.links.new(node.outputs["Color"], to)

    def _link_alpha(self, socket: bpy.types.NodeSocket, groups: node_trace.Groups, to: bpy.types.NodeSocket) -> None:
        """Links alpha as the image's own, where the exporter looks for it."""
        self.trace.restart()
        cut = _before_cutoff(socket.links[0].from_node)
        source = self.trace.source(cut or socket, groups)
        node, factor = source.image, source.factor[0]
        if node is None or source.has_other_nodes or node.id_data != self.tree:
            return
        if cut and self.target.alpha_cutoff:
            # The exporter finds the node of the cutoff.
            to = cut
        elif cut:
            self.counts["cut off"] += 1
        if source.channel != 3:
            if not self.target.image_channels or factor != 1.0:
                self._link_value(source, to, "Alpha")
            return
        made = self.baked.with_alpha_factor(node.image, factor) if factor != 1.0 else None
        if made:
            image, node = node.image, self._copy_node(node, made)
            # Most readers take colour and alpha from one image.
            for other in [each for each in self.tree.nodes if each.type == "TEX_IMAGE" and each.image == image]:
                links = list(other.outputs["Color"].links)
                colour = self._copy_node(other, made).outputs["Color"] if links else None
                for link in links:
                    self.tree.links.new(colour, link.to_socket)
        self.tree.links.new(node.outputs["Alpha"], to)

    def _bake_normal_strength(self, normal: bpy.types.NodeSocket) -> None:
        """Bakes the strength of a normal map into the map."""
        bump = normal.links[0].from_node if normal.is_linked else None
        if bump is None or bump.type != "NORMAL_MAP" or bump.id_data != self.tree or bump.inputs["Strength"].is_linked:
            return
        strength, colour = bump.inputs["Strength"].default_value, bump.inputs["Color"]
        node = colour.links[0].from_node if colour.is_linked else None
        if strength == 1.0 or node is None or node.type != "TEX_IMAGE" or not node.image:
            return
        made = self.baked.with_normal_strength(node.image, strength)
        if made:
            bump.inputs["Strength"].default_value = 1.0
            self.tree.links.new(self._copy_node(node, made).outputs["Color"], colour)

    def _copy_node(
        self, node: bpy.types.ShaderNodeTexImage, image: bpy.types.Image | None = None
    ) -> bpy.types.ShaderNodeTexImage:
        """A new node in this material: settings and UVs of another, its image or ``image``, and no links from it."""
        made = self.tree.nodes.new("ShaderNodeTexImage")
        made.image, made.extension, made.interpolation = image or node.image, node.extension, node.interpolation
        if node.id_data == self.tree and node.inputs["Vector"].is_linked:
            self.tree.links.new(node.inputs["Vector"].links[0].from_socket, made.inputs["Vector"])
        return made


def _fold_tints(inputs: bpy.types.NodeInputs) -> None:
    """Makes highlights and sheen as strong as their tints make them, since the targets hold no tints.

    For specular-glossiness materials glTF's importer sets a very high index of refraction and a tint.
    """
    ior, tint = inputs["IOR"], inputs["Specular Tint"]
    if not ior.is_linked and ior.default_value >= features.MOST_IOR:
        root = min(sum(tint.default_value[:3]) / 3, 0.98) ** 0.5
        ior.default_value = 1.5 if tint.is_linked else (1 + root) / (1 - root)
    sheen, tint = inputs["Sheen Weight"], inputs["Sheen Tint"]
    if not sheen.is_linked and not tint.is_linked:
        sheen.default_value *= max(tint.default_value[:3])


def _before_cutoff(node: bpy.types.ShaderNode) -> bpy.types.NodeSocket | None:
    """The input of a node that cuts alpha off at a value; glTF's importer puts a subtraction from 1 behind it."""
    if node.type == "MATH" and node.operation == "SUBTRACT" and node.inputs[1].is_linked:
        node = node.inputs[1].links[0].from_node
    return node.inputs[0] if node.type == "MATH" and node.operation in _CUTOFFS else None
