"""An upgrade from VRM 0.x to VRM 1.0 keeps settings, and the report names lost ones."""

import bpy
import pytest
from helpers import build, convert, in_child, result
from humans import RIGS, person
from meshgate_engine.formats import glb_container
from models import material

pytestmark = pytest.mark.usefixtures("vrm_addon")

MIXAMO = RIGS["mixamo"]


def older_avatar(licence: str = "CC_BY_NC") -> None:
    """A person with all VRM 0.x features, set in the add-on's properties."""
    rig = person()
    body = bpy.data.objects["Body"]
    body.data.materials.append(material("Skin"))
    extension = rig.data.vrm_addon_extension
    extension.spec_version = "0.0"
    older = extension.vrm0
    meta = older.meta
    meta.title, meta.version, meta.author = "Ada", "3", "Somebody"
    meta.contact_information, meta.reference = "ada@example.org", "https://example.org/original"
    meta.allowed_user_name, meta.sexual_ussage_name = "Everyone", "Disallow"
    meta.violent_ussage_name, meta.commercial_ussage_name = "Allow", "Allow"
    meta.license_name, meta.other_license_url = licence, "https://example.org/licence"
    meta.texture = bpy.data.images.new("thumbnail", 8, 8)
    meta.texture.pack()
    for part, bone in MIXAMO.items():
        human = older.humanoid.human_bones.add()
        human.bone, human.node.bone_name = part, bone
    # An expression named like a preset becomes that preset.
    for name, preset, value in (("Joy", "joy", 1.0), ("Wow", "unknown", 0.5), ("Sorrow", "unknown", 0.25)):
        group = older.blend_shape_master.blend_shape_groups.add()
        group.name, group.preset_name = name, preset
        bind = group.binds.add()
        bind.mesh.mesh_object_name, bind.index, bind.weight = "Body", "Blink", value
    first = older.first_person
    first.first_person_bone.bone_name = MIXAMO["head"]
    first.first_person_bone_offset = (0.1, 0.2, 0.3)
    annotation = first.mesh_annotations.add()
    annotation.mesh.mesh_object_name, annotation.first_person_flag = "Body", "ThirdPersonOnly"
    first.look_at_horizontal_inner.x_range, first.look_at_horizontal_inner.y_range = 70, 12
    springs = older.secondary_animation
    collider_group = springs.collider_groups.add()
    collider_group.uuid, collider_group.node.bone_name = "one", MIXAMO["head"]
    ball = bpy.data.objects.new("Ball", None)
    bpy.context.scene.collection.objects.link(ball)
    ball.parent, ball.parent_type, ball.parent_bone = rig, "BONE", MIXAMO["head"]
    ball.empty_display_type, ball.empty_display_size = "SPHERE", 0.25
    collider_group.colliders.add().bpy_object = ball
    group = springs.bone_groups.add()
    group.comment, group.stiffiness, group.drag_force, group.hit_radius = "Arm", 0.75, 0.4, 0.02
    group.gravity_dir, group.gravity_power = (0, 0, -1), 0.2
    group.bones.add().bone_name = MIXAMO["leftLowerArm"]
    group.collider_groups.add().collider_group_uuid = "one"


def _export(path: str, licence: str) -> None:
    older_avatar(licence)
    assert bpy.ops.export_scene.vrm(filepath=path, armature_object_name="Rig", ignore_warning=True) == {"FINISHED"}


@pytest.fixture(scope="module")
def older_file(tmp_path_factory):
    """The avatar as a file, made once for each licence."""
    made = {}

    def make(licence="CC_BY_NC"):
        if licence not in made:
            made[licence] = tmp_path_factory.mktemp("older") / "older.vrm"
            in_child(_export, str(made[licence]), licence)
            assert "VRM" in glb_container.load(made[licence])[0]["extensions"]
        return made[licence]

    return make


def names(document, indices):
    return [document["nodes"][index]["name"] for index in indices]


def test_an_upgrade_to_vrm_1_keeps_all_metadata(tmp_path, older_file):
    report = convert(tmp_path / "c", older_file(), "vrm")
    document, _ = glb_container.load(result(tmp_path / "c", "vrm"))
    vrm = document["extensions"]["VRMC_vrm"]
    meta = vrm["meta"]
    assert (meta["name"], meta["version"], meta["authors"]) == ("Ada", "3", ["Somebody"])
    assert (meta["contactInformation"], meta["references"]) == ("ada@example.org", ["https://example.org/original"])
    assert (meta["avatarPermission"], meta["allowExcessivelyViolentUsage"]) == ("everyone", True)
    assert meta["allowExcessivelySexualUsage"] is False
    # The licence is non-commercial, which overrides other fields.
    assert (meta["commercialUsage"], meta["allowRedistribution"]) == ("personalNonProfit", True)
    assert meta["otherLicenseUrl"] == "https://creativecommons.org/licenses/by-nc/4.0/"
    assert document["images"][meta["thumbnailImage"]]

    preset, custom = vrm["expressions"]["preset"], vrm["expressions"]["custom"]
    (bind,) = preset["happy"]["morphTargetBinds"]
    assert (names(document, [bind["node"]]), bind["index"], bind["weight"]) == (["Body"], 0, 1.0)
    assert custom["Wow"]["morphTargetBinds"][0]["weight"] == 0.5
    assert list(custom) == ["Wow"]
    assert preset["sad"]["morphTargetBinds"][0]["weight"] == 0.25

    (annotation,) = vrm["firstPerson"]["meshAnnotations"]
    assert (names(document, [annotation["node"]]), annotation["type"]) == (["Body"], "thirdPersonOnly")
    look = vrm["lookAt"]
    assert look["rangeMapHorizontalInner"] == {"inputMaxValue": 70, "outputScale": 12}
    # 10 cm to one side, 30 cm up, 20 cm ahead; VRM 1.0 faces the other way, so the side is mirrored.
    assert look["offsetFromHeadBone"] == pytest.approx([-0.1, 0.3, 0.2], abs=1e-5)

    springs = document["extensions"]["VRMC_springBone"]
    (spring,) = springs["springs"]
    arm = [MIXAMO["leftLowerArm"], MIXAMO["leftHand"], f"{MIXAMO['leftHand']}_end"]
    assert names(document, [joint["node"] for joint in spring["joints"]]) == arm
    assert spring["joints"][0]["stiffness"] == pytest.approx(0.75)
    assert spring["joints"][0]["gravityDir"] == pytest.approx([0, -1, 0])
    assert springs["colliders"][0]["shape"]["sphere"]["radius"] == pytest.approx(0.25)
    assert spring["colliderGroups"] == [0]

    assert report["losses"] == []
    assert report["warnings"] == [
        "the licence of VRM 0.x was put in VRM 1.0's terms, which allow nothing that it does not allow"
    ]
    assert report["output"]["bounds_m"]["max"][1] == pytest.approx(report["input"]["bounds_m"]["max"][1], abs=1e-3)


@pytest.mark.parametrize(
    ("licence", "permission", "expected"),
    [
        ("", "", ""),
        ("https://example.org/a", "", "https://example.org/a"),
        ("", "https://example.org/b", "https://example.org/b"),
        ("https://example.org/a", "https://example.org/a", "https://example.org/a"),
        ("https://example.org/a", "https://example.org/b", "'https://example.org/a', 'https://example.org/b'"),
    ],
)
def test_licence_and_permission_urls_are_both_kept(licence, permission, expected):
    found = in_child(_terms, licence, permission)
    # References are for other works, not for terms.
    assert found == (expected, [])


def _terms(licence: str, permission: str) -> tuple[str, list[str]]:
    from meshgate_engine.humanoid.licence import fill
    from meshgate_engine.job import Job

    older_avatar("Other")
    extension = bpy.data.objects["Rig"].data.vrm_addon_extension
    meta = extension.vrm0.meta
    meta.reference, meta.other_license_url, meta.other_permission_url = "", licence, permission
    fill(Job("", "vrm", "", "vrm"), extension.vrm1.meta, meta)
    newer = extension.vrm1.meta
    return newer.other_license_url, [reference.value for reference in newer.references]


def _nameless() -> float:
    from meshgate_engine.humanoid import vrm0_to_vrm1
    from meshgate_engine.job import Job

    older_avatar()
    rig = bpy.data.objects["Rig"]
    extension = rig.data.vrm_addon_extension
    extension.vrm0.blend_shape_master.blend_shape_groups[0].name = ""
    vrm0_to_vrm1.upgrade(Job("", "vrm", "", "vrm"), rig)
    return extension.vrm1.expressions.preset.happy.morph_target_binds[0].weight


def test_an_unnamed_expression_still_sets_its_preset():
    assert in_child(_nameless) == 1.0


def _gaze(by_expression: bool) -> tuple[str, list, list[float], list[float]]:
    """The look-at of an avatar without a first-person bone: its type, offset, and two of its ranges."""
    from meshgate_engine.humanoid import vrm0_to_vrm1
    from meshgate_engine.job import Job

    older_avatar()
    rig = bpy.data.objects["Rig"]
    extension = rig.data.vrm_addon_extension
    first = extension.vrm0.first_person
    first.first_person_bone.bone_name = ""
    first.look_at_type_name = "BlendShape" if by_expression else "Bone"
    vrm0_to_vrm1.upgrade(Job("", "vrm", "", "vrm"), rig)
    look = extension.vrm1.look_at
    ranges = (look.range_map_horizontal_inner, look.range_map_vertical_up)
    return look.type, list(look.offset_from_head_bone), *([each.input_max_value, each.output_scale] for each in ranges)


@pytest.mark.parametrize(("by_expression", "kind", "usual"), [(False, "bone", 10), (True, "expression", 1)])
def test_look_at_needs_no_first_person_bone(by_expression, kind, usual):
    found = in_child(_gaze, by_expression)
    assert (found[0], found[2], found[3]) == (kind, [70, 12], [90, usual])
    assert found[1] == pytest.approx([-0.1, 0.3, 0.2])


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        # The add-on would show a dialog; the conversion must neither hang nor fail.
        ("CC_BY_NC_ND", (True, "prohibited", "https://creativecommons.org/licenses/by-nc-nd/4.0/")),
        ("Other", (False, "prohibited", "https://example.org/licence")),
    ],
)
def test_a_restricted_licence_stays_restricted(tmp_path, older_file, licence, expected):
    convert(tmp_path / "c", older_file(licence), "vrm")
    meta = glb_container.load(result(tmp_path / "c", "vrm"))[0]["extensions"]["VRMC_vrm"]["meta"]
    assert (meta["allowRedistribution"], meta["modification"], meta["otherLicenseUrl"]) == expected


def test_converting_an_upgraded_avatar_again_changes_nothing(tmp_path, older_file):
    convert(tmp_path / "a", older_file(), "vrm")
    report = convert(tmp_path / "b", result(tmp_path / "a", "vrm"), "vrm")
    assert (report["losses"], report["warnings"]) == ([], [])
    first, second = (glb_container.load(result(tmp_path / trip, "vrm"))[0]["extensions"] for trip in "ab")
    for part in ("meta", "expressions", "firstPerson", "lookAt"):
        drop = {"thumbnailImage"}
        before, after = first["VRMC_vrm"][part], second["VRMC_vrm"][part]
        assert {key: after[key] for key in after if key not in drop} == {
            key: before[key] for key in before if key not in drop
        }
    assert len(second["VRMC_springBone"]["springs"]) == 1


@pytest.mark.parametrize("target", ["fbx", "usdc"])
def test_expressions_and_springs_are_reported_lost(tmp_path, older_file, target):
    report = convert(tmp_path / "c", older_file(), target)
    assert report["losses"] == [f"3 expressions: {target} holds none", f"1 spring: {target} holds none"]
    output = report["output"]
    assert (output["meshes"], output["blend_shapes"], output["skins"]) == (1, 1, 1)


def test_a_scene_without_an_avatar_reports_no_losses(tmp_path):
    report = convert(tmp_path / "c", build(tmp_path, person), "fbx")
    assert report["losses"] == []
