"""Scaling a whole model about the origin, in its data: no object ends up with a scale it did not have.

A uniform scale commutes with rotations and other scales, so that it is enough to scale what is a length: positions in
meshes and skeletons, locations of objects and bones, and the curves that move them.
"""

import bpy
from mathutils import Matrix

_LOCATIONS = ("location", "delta_location")


def scale(factor: float) -> None:
    """Scales everything in the file by ``factor``."""
    matrix = Matrix.Scale(factor, 4)
    for mesh in bpy.data.meshes:
        mesh.transform(matrix, shape_keys=True)
    for curve in bpy.data.curves:
        curve.transform(matrix, shape_keys=True)
    for other in (*bpy.data.armatures, *bpy.data.metaballs, *bpy.data.lattices):
        other.transform(matrix)
    for item in bpy.data.objects:
        item.location *= factor
        item.delta_location *= factor
        item.matrix_parent_inverse.translation *= factor
        if item.type == "EMPTY":
            item.empty_display_size *= factor
        if item.pose:
            for bone in item.pose.bones:
                bone.location *= factor
    for camera in bpy.data.cameras:
        camera.clip_start *= factor
        camera.clip_end *= factor
        camera.ortho_scale *= factor
    _scale_curves(factor)
    bpy.context.view_layer.update()


def _scale_curves(factor: float) -> None:
    for action in bpy.data.actions:
        for layer in action.layers:
            for strip in layer.strips:
                for bag in strip.channelbags:
                    for curve in bag.fcurves:
                        if curve.data_path.rpartition(".")[2] in _LOCATIONS:
                            _scale_curve(curve, factor)


def _scale_curve(curve: bpy.types.FCurve, factor: float) -> None:
    for key in curve.keyframe_points:
        key.co[1] *= factor
        key.handle_left[1] *= factor
        key.handle_right[1] *= factor
    curve.update()
