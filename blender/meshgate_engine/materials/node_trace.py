"""Traces a shader's socket back to its image or value, through links, groups and nodes that multiply."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import bpy

# The most nodes on the way: a graph may have circles, and very many ways to one node.
_MOST_STEPS = 200
WHITE = (1.0, 1.0, 1.0)
# The nodes of the groups that a socket is in, outermost first.
Groups = tuple[bpy.types.ShaderNode, ...]


@dataclass(frozen=True)
class Source:
    """The source of a socket's value: an image or one channel of it, times a colour and vertex colours."""

    image: bpy.types.ShaderNodeTexImage | None = None
    channel: int | None = None
    factor: tuple[float, ...] = WHITE
    vertex_coloured: bool = False
    has_other_nodes: bool = False  # that change it, too

    @property
    def is_tinted_image(self) -> bool:
        """Whether it is an image or a channel, times a colour, and nothing else."""
        return self.image is not None and not self.has_other_nodes and not self.vertex_coloured

    def times(self, other: "Source") -> "Source":
        """The product of both; of two images the first one stays."""
        return Source(
            self.image or other.image,
            self.channel if self.image else other.channel,
            tuple(one * two for one, two in zip(self.factor, other.factor, strict=True)),
            self.vertex_coloured or other.vertex_coloured,
            self.has_other_nodes or other.has_other_nodes or bool(self.image and other.image),
        )


class Trace:
    """Follows links backwards from the sockets of one material, within a budget of nodes."""

    def __init__(self) -> None:
        self._steps = 0

    def restart(self) -> None:
        """Gives the next socket the whole budget."""
        self._steps = 0

    def shaders(self, socket: bpy.types.NodeSocket, groups: Groups) -> Iterator[tuple]:
        """The shaders of a surface, each with the groups that it is in, nearest first."""
        waiting = [(socket, groups)]
        while waiting and self._steps < _MOST_STEPS:
            self._steps += 1
            socket, groups = waiting.pop(0)
            if not socket.is_linked:
                continue
            link = socket.links[0]
            node = link.from_node
            if node.type in {"GROUP", "GROUP_INPUT"}:
                to, around = _across_group(node, link.from_socket, groups)
                waiting += [(to, around)] if to else []
            else:
                yield node, groups
                waiting += [(each, groups) for each in node.inputs if each.type == "SHADER" or node.type == "REROUTE"]

    def source(self, socket: bpy.types.NodeSocket, groups: Groups) -> Source:
        """The source of a socket's value; all that is found when the budget ends."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            return Source(has_other_nodes=True)
        if not socket.is_linked:
            return Source(factor=rgb(socket.default_value)) if hasattr(socket, "default_value") else Source()
        link = socket.links[0]
        node, output = link.from_node, link.from_socket
        if node.type == "TEX_IMAGE":
            return Source(node, 3 if output.name == "Alpha" else None) if node.image else Source(has_other_nodes=True)
        if node.type in {"VERTEX_COLOR", "ATTRIBUTE"}:
            return Source(vertex_coloured=True)
        if node.type in {"RGB", "VALUE"}:
            return Source(factor=rgb(output.default_value))
        if node.type == "REROUTE":
            return self.source(node.inputs[0], groups)
        if node.type in {"GROUP", "GROUP_INPUT"}:
            to, groups = _across_group(node, output, groups)
            return self.source(to, groups) if to else Source(has_other_nodes=True)
        if node.type in {"SEPARATE_COLOR", "SEPRGB"} and getattr(node, "mode", "RGB") == "RGB":
            whole = self.source(node.inputs[0], groups)
            index = list(node.outputs).index(output)
            channel = index if whole.channel is None else whole.channel
            return replace(whole, channel=channel, factor=(whole.factor[index],) * 3)
        factors = _factors(node)
        if factors:
            return self.source(factors[0], groups).times(self.source(factors[1], groups))
        sources = (self.source(each, groups) for each in node.inputs if each.is_linked and each.enabled)
        return replace(next((each for each in sources if each.image), Source()), factor=WHITE, has_other_nodes=True)


def _factors(node: bpy.types.ShaderNode) -> tuple[bpy.types.NodeSocket, bpy.types.NodeSocket] | None:
    """The two sockets that a node multiplies; None when it does anything else."""
    inputs = [each for each in node.inputs if each.enabled]
    if node.type in {"MIX", "MIX_RGB"} and node.blend_type == "MULTIPLY" and len(inputs) == 3:
        whole = not inputs[0].is_linked and inputs[0].default_value == 1.0
        return (inputs[1], inputs[2]) if whole and getattr(node, "data_type", "RGBA") == "RGBA" else None
    if node.type in {"MATH", "VECT_MATH"} and node.operation == "MULTIPLY":
        return inputs[0], inputs[1]
    if node.type == "VECT_MATH" and node.operation == "MULTIPLY_ADD":
        nothing = not inputs[2].is_linked and not any(inputs[2].default_value)
        return (inputs[0], inputs[1]) if nothing else None
    return None


def rgb(value: object) -> tuple[float, ...]:
    """Red, green and blue of a colour, or three times a number."""
    return tuple(value)[:3] if hasattr(value, "__len__") else (float(value),) * 3


def _across_group(
    node: bpy.types.ShaderNode, output: bpy.types.NodeSocket, groups: Groups
) -> tuple[bpy.types.NodeSocket | None, Groups]:
    """The socket inside of a group for an output of its node, or outside for one of its input; with its groups."""
    if node.type == "GROUP":
        ends = node.node_tree.nodes if node.node_tree else ()
        end = next((each for each in ends if each.type == "GROUP_OUTPUT" and each.is_active_output), None)
        around = (*groups, node)
    else:
        end = groups[-1] if groups else None
        around = groups[:-1]
    inputs = end.inputs if end else ()
    return next((each for each in inputs if each.identifier == output.identifier), None), around
