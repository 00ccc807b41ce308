"""Converts VRM 0.x expressions, look-at, first-person settings and springs to VRM 1.0.

The VRM add-on keeps 0.x and 1.0 in separate properties and writes 1.0 from the latter, so that an avatar of 0.x would
lose all of them. The rules are those of the VRM consortium's migration, where it has some.
"""

import re

import bpy

from ..blender_api import scene
from ..job import Job
from . import bone_mapping, expressions

_TAIL = 0.07  # metres from the last bone of a VRM 0.x spring to its end
_RANDOM_SUFFIX = re.compile(r"-?[0-9a-f]{32}$")


def upgrade(job: Job, item: bpy.types.Object) -> None:
    """Converts the properties of a VRM 0.x armature to VRM 1.0; leaves others alone."""
    extension = item.data.vrm_addon_extension
    if extension.spec_version != "0.0":
        return
    older, newer = extension.vrm0, extension.vrm1
    if len(older.blend_shape_master.blend_shape_groups):
        _upgrade_expressions(job, item)
    newer.first_person.mesh_annotations.clear()
    for annotation in older.first_person.mesh_annotations:
        made = newer.first_person.mesh_annotations.add()
        made.node.mesh_object_name = annotation.mesh.mesh_object_name
        flag = annotation.first_person_flag
        made.type = flag[0].lower() + flag[1:]
    if any(bone.node.bone_name for bone in older.humanoid.human_bones):
        _upgrade_look_at(older.first_person, newer.look_at)
    if len(older.secondary_animation.bone_groups):
        _upgrade_springs(item, extension.spring_bone1)


def report_losses(job: Job) -> None:
    """Reports expressions and springs that the target cannot hold."""
    if job.target.avatar:
        return
    expression_count = spring_count = 0
    for item in scene.armatures():
        extension = getattr(item.data, "vrm_addon_extension", None)
        if extension is None or not bone_mapping.assigned(item):
            continue
        if extension.spec_version == "0.0":
            expression_count += sum(_is_used(group) for group in extension.vrm0.blend_shape_master.blend_shape_groups)
            spring_count += len(extension.vrm0.secondary_animation.bone_groups)
        else:
            expression_count += len(expressions.used(extension.vrm1))
            spring_count += len(extension.spring_bone1.springs)
    job.lose("expressions", expression_count, "holds none")
    job.lose("springs", spring_count, "holds none")


def _is_used(group: bpy.types.PropertyGroup) -> bool:
    return bool(len(group.binds) or len(group.material_values))


def _upgrade_expressions(job: Job, item: bpy.types.Object) -> None:
    newer = item.data.vrm_addon_extension.vrm1
    groups = item.data.vrm_addon_extension.vrm0.blend_shape_master.blend_shape_groups
    # The add-on may have guessed expressions from names of blend shapes, and would prefer them to the file's.
    for expression in expressions.all_expressions(newer):
        for part in expressions.effects(expression):
            part.clear()
    newer.expressions.custom.clear()
    _assign_presets(groups)
    bpy.ops.vrm.assign_vrm1_expressions_from_vrm0(armature_object_name=item.name)
    custom = {expression.custom_name: expression for expression in newer.expressions.custom}
    for group in groups:
        preset = expressions.VRM0_PRESETS.get(group.preset_name)
        made = getattr(newer.expressions.preset, preset) if preset else custom.get(group.name)
        if made is not None:
            made.is_binary = group.is_binary
    before = sum(len(group.material_values) for group in groups)
    on_materials = [part for expression in expressions.used(newer) for part in expressions.effects(expression)[1:]]
    lost = max(before - sum(map(len, on_materials)), 0)
    job.lose("expression materials", lost, "not in VRM 1.0", total=before)


def _assign_presets(groups: bpy.types.bpy_prop_collection) -> None:
    """Gives expressions that are named like a preset that preset, as applications of VRM 0.x do.

    Expressions with a preset and no name get its name, since the add-on ignores them otherwise.
    """
    # Writers also add presets that are not used.
    taken = {group.preset_name for group in groups if _is_used(group)}
    for group in groups:
        name = group.name.lower()
        if group.preset_name == "unknown" and name in expressions.VRM0_PRESETS and name not in taken:
            group.preset_name = name
            taken.add(name)
        elif not name and group.preset_name != "unknown":
            group.name = group.preset_name


def _upgrade_look_at(older: bpy.types.PropertyGroup, newer: bpy.types.PropertyGroup) -> None:
    # The add-on stores Unity's (x, y, z) as (x, z, y), and VRM 1.0 faces the other way: x is mirrored.
    across, ahead, up = older.first_person_bone_offset
    newer.offset_from_head_bone = (-across, up, ahead)
    newer.type = "expression" if older.look_at_type_name == "BlendShape" else "bone"
    for name in ("horizontal_inner", "horizontal_outer", "vertical_down", "vertical_up"):
        before, after = getattr(older, f"look_at_{name}"), getattr(newer, f"range_map_{name}")
        after.input_max_value, after.output_scale = before.x_range, before.y_range
        if newer.type == "expression" and not before.is_property_set("y_range"):
            # For bones these are degrees, for expressions weights.
            after.output_scale = 1.0


def _upgrade_springs(item: bpy.types.Object, newer: bpy.types.PropertyGroup) -> None:
    """Converts springs and colliders by the add-on, and completes its result."""
    if not len(newer.springs):
        bpy.ops.vrm.assign_spring_bone1_from_vrm0(armature_object_name=item.name)
    for part in (newer.springs, newer.collider_groups):
        for named in part:
            # Random names would make equal conversions differ.
            named.vrm_name = _RANDOM_SUFFIX.sub("", named.vrm_name)
    ends = {spring.joints[-1].node.bone_name for spring in newer.springs if len(spring.joints)}
    tails = _add_tails(item, {name for name in ends if name in item.data.bones and not item.data.bones[name].children})
    for spring in newer.springs:
        for joint in spring.joints:
            across, ahead, up = joint.gravity_dir
            joint.gravity_dir = (-across, -ahead, up)
        end = spring.joints[-1] if len(spring.joints) else None
        if end and end.node.bone_name in tails:
            bone = tails[end.node.bone_name]
            values = {name: getattr(end, name) for name in ("hit_radius", "stiffness", "gravity_power", "drag_force")}
            joint = spring.joints.add()
            joint.node.bone_name = bone
            for name, value in values.items():
                setattr(joint, name, value)


def _add_tails(item: bpy.types.Object, ends: set[str]) -> dict[str, str]:
    """Adds a bone behind each end, since the last joint of a VRM 1.0 spring only marks the end of the one before it."""
    if not ends:
        return {}
    bpy.context.view_layer.objects.active = item
    bpy.ops.object.mode_set(mode="EDIT")
    tails = {}
    for name in sorted(ends):
        end = item.data.edit_bones[name]
        tail = item.data.edit_bones.new(f"{name}_end")
        tail.parent = end
        # In VRM 0.x a bone without a child continues the direction from its parent.
        way = (end.head - end.parent.head if end.parent else end.vector).normalized() * _TAIL
        tail.head, tail.tail = end.head + way, end.head + 2 * way
        tails[name] = tail.name
    bpy.ops.object.mode_set(mode="OBJECT")
    return tails
