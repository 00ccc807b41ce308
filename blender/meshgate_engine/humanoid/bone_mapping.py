"""Maps the human bones of VRM 1.0 (hips, leftUpperArm, …) to the bones of a skeleton.

The mapping uses names first: most rigs (Mixamo, Unreal, Unity, Maya HumanIK, 3ds Max Biped, Rigify, motion capture) use
a few names, and a name is certain where a shape is a guess. If names are not enough, the VRM add-on guesses from the
structure. ``assign`` checks every mapping.
"""

import contextlib
import re
from collections.abc import Iterator

import bpy

from ..blender_api import scene
from ..blender_api.addon_patches import patched
from ..errors import ConversionError
from ..job import Job

REQUIRED = (
    "hips", "spine", "head",
    "leftUpperLeg", "leftLowerLeg", "leftFoot", "rightUpperLeg", "rightLowerLeg", "rightFoot",
    "leftUpperArm", "leftLowerArm", "leftHand", "rightUpperArm", "rightLowerArm", "rightHand",
)  # fmt: skip

_MIDDLE = {
    "hips": "hips", "hip": "hips", "pelvis": "hips", "neck": "neck", "neck1": "neck", "neck01": "neck", "head": "head",
    "jaw": "jaw", "腰": "hips", "センター": "", "首": "neck", "頭": "head",
}  # fmt: skip

_SIDED = {
    "collar": "Collar", "clavicle": "Collar", "collarbone": "Collar", "shoulder": "Shoulder", "肩": "Shoulder",
    "arm": "UpperArm", "upperarm": "UpperArm", "uparm": "UpperArm", "腕": "UpperArm",
    "forearm": "LowerArm", "lowerarm": "LowerArm", "loarm": "LowerArm", "elbow": "LowerArm", "ひじ": "LowerArm",
    "hand": "Hand", "wrist": "Hand", "手首": "Hand",
    "upleg": "UpperLeg", "upperleg": "UpperLeg", "thigh": "UpperLeg", "hip": "UpperLeg", "足": "UpperLeg",
    "leg": "LowerLeg", "lowerleg": "LowerLeg", "loleg": "LowerLeg", "shin": "LowerLeg", "calf": "LowerLeg",
    "knee": "LowerLeg", "ひざ": "LowerLeg",
    "foot": "Foot", "ankle": "Foot", "足首": "Foot",
    "toe": "Toes", "toes": "Toes", "toebase": "Toes", "ball": "Toes", "toe0": "Toes", "つま先": "Toes",
    "eye": "Eye",
}  # fmt: skip

_FINGER = re.compile(r"^(?:hand|f|finger)?(thumb|index|middle|ring|pinky|little)(?:finger)?0?([123])$")
_PREFIX = re.compile(
    r"^(?:.*:|mixamorig\d*_?|character\d*_|bip0*\d+[ _]|valvebiped\.bip01_|def-|j_bip_c?_?|cc_base_)", re.I
)
_SIDES = {"l": "left", "left": "left", "lft": "left", "左": "left", "r": "right", "right": "right", "右": "right"}

# Human bone of VRM 0.x -> VRM 1.0's, where they differ.
_VRM0_THUMBS = {
    "leftThumbProximal": "leftThumbMetacarpal", "leftThumbIntermediate": "leftThumbProximal",
    "rightThumbProximal": "rightThumbMetacarpal", "rightThumbIntermediate": "rightThumbProximal",
}  # fmt: skip

# Each bone has to be below the one before it, or its name is ignored.
_CHAINS = [
    ["hips", "spine", "chest", "upperChest", "neck", "head"],
    *([f"{side}UpperLeg", f"{side}LowerLeg", f"{side}Foot", f"{side}Toes"] for side in ("left", "right")),
    *([f"{side}Shoulder", f"{side}UpperArm", f"{side}LowerArm", f"{side}Hand"] for side in ("left", "right")),
]


def armature() -> bpy.types.Object:
    """The skeleton with the most bones. Raises ``not_humanoid`` without any."""
    found = max(scene.armatures(), key=lambda item: (len(item.data.bones), item.name), default=None)
    if found is None:
        raise ConversionError("not_humanoid", "the model has no skeleton")
    return found


def assign(item: bpy.types.Object, job: Job | None = None) -> dict[str, str]:
    """Gives the armature a complete VRM 1.0 humanoid; returns human bone -> bone. Raises ``not_humanoid``.

    An existing mapping (of a VRM or .blend) is kept. A guess is a warning of ``job``.
    """
    extension = item.data.vrm_addon_extension
    found, guessed = assigned(item), False
    if _missing(found):
        found = by_name(item.data)
    if _missing(found):
        guess = _by_addon(item)
        # A guess that contradicts names is wrong: without a hand, it takes other bones of the arm for one.
        contradicted = any(guess.get(name) != bone for name, bone in found.items() if name in REQUIRED)
        if not contradicted or len(found) < 3:
            found, guessed = guess, True
    if missing := _missing(found):
        words = re.sub(r"[A-Z]", lambda letter: f" {letter[0].lower()}", ", ".join(missing))
        raise ConversionError("not_humanoid", f"the skeleton has no {words}")
    if guessed and job is not None:
        job.warn("the human bones were guessed from the skeleton's structure, since the bones' names do not tell them")
    extension.spec_version = "1.0"
    write(item, found)
    return found


def assigned(item: bpy.types.Object) -> dict[str, str]:
    """The mapping that the armature has, of VRM 1.0 or else 0.x; human bone -> bone."""
    extension = item.data.vrm_addon_extension
    found = {name: node.bone_name for name, node in _nodes(extension).items() if node.bone_name in item.data.bones}
    if not found:
        older = {bone.bone: bone.node.bone_name for bone in extension.vrm0.humanoid.human_bones}
        found = {_VRM0_THUMBS.get(name, name): bone for name, bone in older.items() if bone in item.data.bones}
    return found


def write(item: bpy.types.Object, found: dict[str, str]) -> None:
    """Writes a mapping into the add-on's properties."""
    extension = item.data.vrm_addon_extension
    # Otherwise the add-on guesses a mapping when it sees the armature, which can take a minute.
    extension.vrm1.humanoid.human_bones.initial_automatic_bone_assignment = False
    extension.vrm0.humanoid.initial_automatic_bone_assignment = False
    with without_candidate_updates():
        for name, node in _nodes(extension).items():
            if node.bone_name != found.get(name, ""):
                node.bone_name = found.get(name, "")


@contextlib.contextmanager
def without_candidate_updates() -> Iterator[None]:
    """Updates the candidates in the add-on's menus once at the end instead of after each bone.

    An update takes a tenth of a second, which is seconds for an avatar. Cause: ``_set_bone_name`` of
    ``editor/property_group.py`` calls ``update_all_vrm1_bone_name_candidates``. No upstream issue known. VRM add-on
    4.10.2; it can go when the add-on updates its menus when they are drawn.
    """
    from io_scene_vrm.editor.property_group import HumanoidStructureBonePropertyGroup as Group

    names = ("update_all_vrm0_bone_name_candidates", "update_all_vrm1_bone_name_candidates")
    with patched(Group, **dict.fromkeys(names, lambda _armature: None)):
        yield
    for armature in {item.data for item in scene.armatures()}:
        extension = armature.vrm_addon_extension
        ours = (*extension.vrm0.humanoid.human_bones,
                *extension.vrm1.humanoid.human_bones.human_bone_name_to_human_bone().values())  # fmt: skip
        for bone in ours:
            # A bone without an entry would start another update within the update.
            Group.pointer_to_bone_name_candidates.setdefault(bone.node.as_pointer(), set())
        for name in names:
            getattr(Group, name)(armature)


def by_name(data: bpy.types.Armature) -> dict[str, str]:
    """The mapping that names of bones show, which may be incomplete; human bone -> bone."""
    found: dict[str, bpy.types.Bone] = {}
    for bone in data.bones:
        name = _human_name(bone.name)
        # Of equal names the one nearer to the root; others are twist bones and helpers.
        if name and (name not in found or len(bone.parent_recursive) < len(found[name].parent_recursive)):
            found[name] = bone
    for side in ("left", "right"):
        _resolve_shoulder(found, side)
    _resolve_hips(found)
    _resolve_spine(found)
    for chain in _CHAINS:
        above = None
        for name in [name for name in chain if name in found]:
            if above is None or above in found[name].parent_recursive:
                above = found[name]
            else:
                del found[name]
    return {name: bone.name for name, bone in found.items()}


def _human_name(name: str) -> str | None:
    """``mixamorig:LeftForeArm`` -> ``leftLowerArm``; ``Collar`` is resolved once all bones have names."""
    name = _PREFIX.sub("", name)
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+", name)
    if words and len(words[0]) > 1 and words[0][0] in "左右":
        words[0:1] = [words[0][0], words[0][1:]]
    # Lower case throughout: leftupleg.
    if words and (glued := re.match(r"^(left|right)(.+)$", words[0])):
        words[0:1] = list(glued.groups())
    sides = {_SIDES[word.lower()] for word in words if word.lower() in _SIDES}
    part = "".join(word.lower() for word in words if word.lower() not in _SIDES)
    if not sides:
        return _MIDDLE.get(part) or None
    if len(sides) > 1:
        return None
    (side,) = sides
    if part in _SIDED:
        return side + _SIDED[part]
    finger = _FINGER.match(part)
    if not finger:
        return None
    which, joint = finger[1].capitalize(), int(finger[2]) - 1
    joints = ("Metacarpal", "Proximal", "Distal") if which == "Thumb" else ("Proximal", "Intermediate", "Distal")
    return f"{side}{'Little' if which == 'Pinky' else which}{joints[joint]}"


def _resolve_shoulder(found: dict[str, bpy.types.Bone], side: str) -> None:
    """Resolves ``shoulder``: the collar bone in some rigs (Mixamo), the upper arm in others (motion capture)."""
    collar = found.pop(f"{side}Collar", None)
    if f"{side}UpperArm" not in found and f"{side}Shoulder" in found:
        found[f"{side}UpperArm"] = found.pop(f"{side}Shoulder")
    if collar is not None:
        found[f"{side}Shoulder"] = collar


def _resolve_hips(found: dict[str, bpy.types.Bone]) -> None:
    """Takes the common parent of legs and head for the hips, whatever its name."""
    legs = [found.get("leftUpperLeg"), found.get("rightUpperLeg")]
    if None in legs or "head" not in found:
        return
    above = [bone for bone in legs[0].parent_recursive if bone in legs[1].parent_recursive]
    common = next((bone for bone in above if bone in found["head"].parent_recursive), None)
    if common is not None and ("hips" not in found or found["hips"] not in above):
        found["hips"] = common


def _resolve_spine(found: dict[str, bpy.types.Bone]) -> None:
    """Takes the bones between hips and neck for the spine, whatever their names; the last one carries the arms."""
    top = found.get("neck") or found.get("head")
    if top is None or "hips" not in found or found["hips"] not in top.parent_recursive:
        return
    above = top.parent_recursive
    between = above[: above.index(found["hips"])][::-1]
    if len(between) > 3:
        between = [between[0], between[len(between) // 2], between[-1]]
    found |= dict(zip(("spine", "chest", "upperChest"), between, strict=False))


def _by_addon(item: bpy.types.Object) -> dict[str, str]:
    from io_scene_vrm.common.human_bone_mapper.human_bone_mapper import create_human_bone_mapping

    mapping = create_human_bone_mapping(item)
    found = {specification.name.value: bone for bone, specification in mapping.items() if bone in item.data.bones}
    if "chest" not in found and "upperChest" in found:
        # VRM allows no upper chest without a chest.
        found["chest"] = found.pop("upperChest")
    return found


def _missing(found: dict[str, str]) -> list[str]:
    return [name for name in REQUIRED if name not in found]


def _nodes(extension: bpy.types.PropertyGroup) -> dict[str, bpy.types.PropertyGroup]:
    """The properties of VRM 1.0 that name bones, by human bone."""
    bones = extension.vrm1.humanoid.human_bones.human_bone_name_to_human_bone()
    return {name.value: bone.node for name, bone in bones.items()}
