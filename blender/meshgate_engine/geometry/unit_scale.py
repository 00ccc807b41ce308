"""Scales a whole model about the origin in its data, so that no object gets a scale that it did not have.

A uniform scale commutes with rotations and other scales, so that scaling the lengths is enough: positions in meshes and
skeletons, locations of objects and bones, and the curves that move them.
"""

import bpy
import numpy as np
from mathutils import Matrix

from ..animation import bake_caches
from ..blender_api import actions, arrays, scene
from ..job import Job

_BOUNDS = tuple(f"{bound}_{axis}" for axis in "xyz" for bound in ("min", "max"))
# Constraint -> its properties that are lengths.
_LENGTHS = {
    "LIMIT_LOCATION": _BOUNDS,
    "LIMIT_DISTANCE": ("distance",),
    "FLOOR": ("offset",),
    "STRETCH_TO": ("rest_length",),
    "PIVOT": ("offset",),
    "SHRINKWRAP": ("distance",),
}
_TEXT = ("size", "offset_x", "offset_y", "extrude", "offset", "bevel_depth")


def scale(job: Job, factor: float) -> None:
    """Scales everything in the file by ``factor``, and warns of what cannot be scaled."""
    matrix = Matrix.Scale(factor, 4)
    cached = [item for item in scene.meshes() if bake_caches.is_cached(item)]
    for item in cached:
        _scale_cached_mesh(item, factor)
    for mesh in set(bpy.data.meshes) - {item.data for item in cached}:
        mesh.transform(matrix, shape_keys=True)
    for curve in bpy.data.curves:
        if isinstance(curve, bpy.types.TextCurve):
            _multiply(curve, _TEXT, factor)
            for frame in curve.text_boxes:
                _multiply(frame, ("x", "y", "width", "height"), factor)
        else:
            curve.transform(matrix, shape_keys=True)
    for ball in bpy.data.metaballs:
        _multiply(ball, ("resolution", "render_resolution"), factor)
    for other in (*bpy.data.armatures, *bpy.data.metaballs, *bpy.data.lattices):
        other.transform(matrix)
    _scale_points(factor)
    for item in bpy.data.objects:
        item.location *= factor
        item.delta_location *= factor
        item.matrix_parent_inverse.translation *= factor
        if item.type == "EMPTY":
            item.empty_display_size *= factor
        _scale_constraints(item, factor)
        for bone in item.pose.bones if item.pose else ():
            bone.location *= factor
            _scale_constraints(bone, factor)
    for collection in bpy.data.collections:
        collection.instance_offset *= factor
    for camera in bpy.data.cameras:
        _multiply(camera, ("clip_start", "clip_end", "ortho_scale"), factor)

    def multiply(points: np.ndarray) -> None:
        points[:, 1] = points[:, 1].astype(np.float64) * factor

    for curve in filter(_is_location, actions.all_curves()):
        actions.change_keys(curve, multiply)
    _warn_of_unscaled(job)
    bpy.context.view_layer.update()


def _multiply(thing: bpy.types.bpy_struct, attributes: tuple[str, ...], factor: float) -> None:
    for attribute in attributes:
        setattr(thing, attribute, getattr(thing, attribute) * factor)


def _scale_cached_mesh(item: bpy.types.Object, factor: float) -> None:
    """Scales a mesh whose shape Blender reads from its file in each frame, by a modifier behind the cache."""
    tree = bpy.data.node_groups.new("Scale", "GeometryNodeTree")
    for way in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
    first, last = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    change = tree.nodes.new("GeometryNodeTransform")
    change.inputs["Scale"].default_value = (factor, factor, factor)
    tree.links.new(first.outputs[0], change.inputs["Geometry"])
    tree.links.new(change.outputs["Geometry"], last.inputs[0])
    item.modifiers.new("Scale", "NODES").node_group = tree


def _scale_points(factor: float) -> None:
    """Scales point clouds, hair curves and grease pencil drawings."""
    drawings = (frame.drawing for each in bpy.data.grease_pencils for layer in each.layers for frame in layer.frames)
    for owner in (*bpy.data.pointclouds, *bpy.data.hair_curves, *drawings):
        for name, kind, size in (("position", "vector", 3), ("radius", "value", 1)):
            attribute = owner.attributes.get(name)
            if attribute is not None:
                arrays.put(attribute.data, kind, arrays.get(attribute.data, kind, size) * np.float32(factor))


def _scale_constraints(owner: bpy.types.Object | bpy.types.PoseBone, factor: float) -> None:
    for constraint in owner.constraints:
        _multiply(constraint, _LENGTHS.get(constraint.type, ()), factor)
        if constraint.type == "CHILD_OF":
            moved = constraint.inverse_matrix.copy()
            moved.translation *= factor
            constraint.inverse_matrix = moved
        elif constraint.type == "TRANSFORM":
            for way in ("from", "to"):
                if getattr(constraint, f"map_{way}") == "LOCATION":
                    _multiply(constraint, tuple(f"{way}_{bound}" for bound in _BOUNDS), factor)
        elif constraint.type == "ACTION" and constraint.transform_channel.startswith("LOCATION"):
            _multiply(constraint, ("min", "max"), factor)


def _warn_of_unscaled(job: Job) -> None:
    driven = [item.name for item in scene.objects() if any(map(_is_location, actions.drivers(item)))]
    volumes = [item.name for item in scene.objects() if item.type == "VOLUME"]
    for what, names in (("places that drivers set", driven), ("volumes", volumes)):
        if names:
            job.warn(f"{what} were not scaled: {', '.join(sorted(names)[:5])}")


def _is_location(curve: bpy.types.FCurve) -> bool:
    return curve.data_path.rpartition(".")[2] in {"location", "delta_location"}
