"""Human skeletons for tests: one body with the bone names of many rigs."""

import bpy

# The parts of a skeleton: name -> (parent, head, tail); metres, z up, facing -y.
PARTS = {
    "hips": (None, (0, 0, 0.95), (0, 0, 1.06)),
    "spine": ("hips", (0, 0, 1.06), (0, 0, 1.22)),
    "chest": ("spine", (0, 0, 1.22), (0, 0, 1.49)),
    "neck": ("chest", (0, 0, 1.49), (0, 0, 1.57)),
    "head": ("neck", (0, 0, 1.57), (0, 0, 1.80)),
}
for _side, _sign in (("left", 1), ("right", -1)):
    PARTS |= {
        f"{_side}Shoulder": ("chest", (_sign * 0.03, 0, 1.44), (_sign * 0.17, 0, 1.44)),
        f"{_side}UpperArm": (f"{_side}Shoulder", (_sign * 0.17, 0, 1.44), (_sign * 0.45, 0, 1.44)),
        f"{_side}LowerArm": (f"{_side}UpperArm", (_sign * 0.45, 0, 1.44), (_sign * 0.70, 0, 1.44)),
        f"{_side}Hand": (f"{_side}LowerArm", (_sign * 0.70, 0, 1.44), (_sign * 0.88, 0, 1.44)),
        f"{_side}UpperLeg": ("hips", (_sign * 0.1, 0, 0.91), (_sign * 0.1, -0.005, 0.50)),
        f"{_side}LowerLeg": (f"{_side}UpperLeg", (_sign * 0.1, -0.005, 0.50), (_sign * 0.1, 0.01, 0.09)),
        f"{_side}Foot": (f"{_side}LowerLeg", (_sign * 0.1, 0.01, 0.09), (_sign * 0.1, -0.11, 0.03)),
    }


def _rig(middle: str, sided: str, pattern: str, sides: tuple[str, str] = ("Left", "Right")) -> dict[str, str]:
    """Part -> the rig's name for it; ``pattern`` puts side and name together."""
    names = dict(zip(("hips", "spine", "chest", "neck", "head"), middle.split(), strict=True))
    parts = ("Shoulder", "UpperArm", "LowerArm", "Hand", "UpperLeg", "LowerLeg", "Foot")
    for part, name in zip(parts, sided.split(), strict=True):
        for side, theirs in zip(("left", "right"), sides, strict=True):
            names[side + part] = pattern.format(side=theirs, name=name)
    return names


_MIXAMO = _rig("Hips Spine Spine1 Neck Head", "Shoulder Arm ForeArm Hand UpLeg Leg Foot", "{side}{name}")
RIGS = {
    "mixamo": {part: f"mixamorig:{name}" for part, name in _MIXAMO.items()},
    "humanik": {part: f"Character1_{name}" for part, name in _MIXAMO.items()},
    "motion capture": _MIXAMO,
    "unreal": _rig(
        "pelvis spine_01 spine_02 neck_01 head",
        "clavicle upperarm lowerarm hand thigh calf foot",
        "{name}_{side}",
        ("l", "r"),
    ),
    "biped": {
        part: f"Bip01 {name}"
        for part, name in _rig(
            "Pelvis Spine Spine1 Neck Head",
            "Clavicle UpperArm Forearm Hand Thigh Calf Foot",
            "{side} {name}",
            ("L", "R"),
        ).items()
    },
    "rigify": _rig(
        "spine spine.001 spine.003 spine.004 spine.006",
        "shoulder upper_arm forearm hand thigh shin foot",
        "{name}.{side}",
        ("L", "R"),
    ),
    "poser": _rig("Hips Ab Chest Neck Head", "Collar Shoulder Elbow Wrist Hip Knee Ankle", "{side}{name}"),
    "unity": _rig(
        "Hips Spine Chest Neck Head", "Shoulder UpperArm LowerArm Hand UpperLeg LowerLeg Foot", "{side}{name}"
    ),
}


def skeleton(names: dict[str, str]) -> bpy.types.Object:
    """An armature of the parts in ``names``."""
    data = bpy.data.armatures.new("Rig")
    rig = bpy.data.objects.new("Rig", data)
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for part, name in names.items():
        parent, head, tail = PARTS[part]
        bone = data.edit_bones.new(name)
        bone.head, bone.tail = head, tail
        if parent:
            bone.parent = data.edit_bones[names[parent]]
    bpy.ops.object.mode_set(mode="OBJECT")
    return rig


def person(rig: str = "mixamo") -> bpy.types.Object:
    """A skinned body 1.8 m tall with a blend shape and the clips ``Nod`` (21 frames) and ``Walk`` (31), 30 fps."""
    from models import box

    bpy.context.scene.render.fps = 30
    names = RIGS[rig]
    armature = skeleton(names)
    body = box("Body")
    group = body.vertex_groups.new(name=names["hips"])
    group.add(range(len(body.data.vertices)), 1.0, "REPLACE")
    body.parent = armature
    body.modifiers.new("Armature", "ARMATURE").object = armature
    body.shape_key_add(name="Basis")
    body.shape_key_add(name="Blink").data[0].co.z = 0.1
    armature.animation_data_create()
    for clip, last, part in (("Nod", 21, "head"), ("Walk", 31, "leftUpperLeg")):
        action = bpy.data.actions.new(clip)
        action.use_fake_user = True
        armature.animation_data.action = action
        bone = armature.pose.bones[names[part]]
        bone.rotation_mode = "XYZ"
        for frame, angle in ((1, 0.0), (last, 0.5)):
            bone.rotation_euler.x = angle
            bone.keyframe_insert("rotation_euler", frame=frame)
        hips = armature.pose.bones[names["hips"]]
        hips.keyframe_insert("location", frame=1)
    return armature
