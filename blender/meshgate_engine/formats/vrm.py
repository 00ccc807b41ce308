"""VRM avatars: 0.x and 1.0 in, 1.0 out."""

import contextlib
import os
from pathlib import Path

import bpy

from ..animation import clip_playback
from ..blender_api import scene
from ..blender_api.addon_patches import patched
from ..blender_api.operators import exporting, importing
from ..errors import ConversionError
from ..humanoid import bone_mapping, expressions, licence, vrm0_to_vrm1
from ..job import Job
from . import glb_container, gltf


def read(job: Job) -> str:
    """Imports the avatar. The add-on does not ask about the licence, since the sender of a file may use it."""
    os.environ["BLENDER_VRM_AUTOMATIC_LICENSE_CONFIRMATION"] = "true"
    with bone_mapping.without_candidate_updates():
        importer = importing(
            job,
            bpy.ops.import_scene.vrm,
            use_addon_preferences=False,
            extract_textures_into_folder=False,
            set_shading_type_to_material_on_import=False,
            enable_mtoon_outline_preview=False,
        )
    gltf.report_unread(job, glb_container.document(Path(job.input)))
    # A VRM has no clips; the add-on makes one of its T-pose.
    clip_playback.remove_animation()
    return importer


def write(job: Job) -> None:
    """Exports the avatar as VRM 1.0 in its rest pose."""
    item = bone_mapping.armature()
    vrm0_to_vrm1.upgrade(job, item)
    bone_mapping.assign(item, job)
    if len(scene.armatures()) > 1:
        job.warn(f"of {len(scene.armatures())} skeletons the one with most bones became the avatar's: {item.name}")
    clip_playback.activate()
    for mesh in scene.meshes():
        clip_playback.reset_pose(mesh.data.shape_keys)
    vrm = item.data.vrm_addon_extension.vrm1
    # Otherwise the add-on poses the skeleton, and the mesh, in its idea of a T-pose.
    vrm.humanoid.pose = "restPositionPose"
    expressions.add_from_blend_shapes(vrm)
    licence.fill(job, vrm.meta, item.data.vrm_addon_extension.vrm0.meta)
    with _active_vertex_colours(), gltf.chosen_refraction(job):
        exporting(
            job,
            bpy.ops.export_scene.vrm,
            armature_object_name=item.name,
            use_addon_preferences=False,
            export_invisibles=True,
            export_only_selections=False,
            enable_advanced_preferences=True,
            export_try_sparse_sk=True,
            ignore_warning=True,
        )
    _check(job, vrm.meta.contact_information)


def texture_names(path: Path) -> list[str]:
    """The names of the images in an avatar."""
    return gltf.texture_names(path)


def _active_vertex_colours() -> contextlib.AbstractContextManager[None]:
    """Makes the VRM add-on export the active vertex colours; by default glTF's exporter adds a white layer first.

    Cause: ``vrm1_exporter.py`` passes ``export_vertex_color="MATERIAL"`` to ``_invoke_export_scene_gltf``. Upstream:
    https://github.com/saturday06/VRM-Addon-for-Blender/issues/836. VRM add-on 4.10.2; it can go when the add-on has an
    option for vertex colours.
    """
    from io_scene_vrm.external import io_scene_gltf2_support

    invoke = io_scene_gltf2_support._invoke_export_scene_gltf

    def export(arguments: io_scene_gltf2_support.ExportSceneGltfArguments) -> set[str]:
        arguments.export_vertex_color = "ACTIVE"
        return invoke(arguments)

    return patched(io_scene_gltf2_support, _invoke_export_scene_gltf=export)


def _check(job: Job, contact: str) -> None:
    """Checks that the file is an avatar, and adds its contact information, which ``vrm1_exporter.py`` does not write.

    No upstream issue known. VRM add-on 4.10.2.
    """
    try:
        document, buffer = glb_container.load(Path(job.output))
        vrm = document["extensions"]["VRMC_vrm"]
        bones, meta = vrm["humanoid"]["humanBones"], vrm["meta"]
    except (ValueError, LookupError, TypeError) as error:
        raise ConversionError("export_failed", "the vrm file written is not an avatar") from error
    if any(name not in bones for name in bone_mapping.REQUIRED):
        raise ConversionError("export_failed", "the vrm file written has an incomplete humanoid")
    if not document.get("meshes"):
        raise ConversionError("geometry_lost", "the vrm file written has no mesh")
    if contact and "contactInformation" not in meta:
        meta["contactInformation"] = contact
        glb_container.save(Path(job.output), document, buffer)
