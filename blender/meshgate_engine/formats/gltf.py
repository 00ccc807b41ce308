"""glTF 2.0: glb both ways, gltf in (its writing is the native lane's)."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import bpy

from .. import clips, scene
from ..errors import ConversionError
from ..job import Job
from ..operators import exporting, importing
from . import glb


def read(job: Job) -> str:
    """Imports the file."""
    document = _document(Path(job.input))
    version = str((document.get("asset") or {}).get("version", "")) if document else ""
    if version.startswith("1."):
        raise ConversionError("import_failed", f"the file is glTF {version}; only 2.0 can be read")
    _set_fps(document)
    # Where the file says which scene is shown, the others become scenes of their own. As collections they would come
    # into this one, hidden, and some exporters write what is hidden.
    apart = len(document.get("scenes") or []) > 1 and document.get("scene") is not None
    with _rate_as_the_addon_means_it():
        importing(
            job,
            bpy.ops.import_scene.gltf,
            # Else every bone brings a little sphere into the scene.
            disable_bone_shape=True,
            bone_heuristic="BLENDER",
            import_pack_images=True,
            import_webp_texture=True,
            import_scene_as_collection=not apart,
        )
    if apart:
        _leave_out_what_no_scene_shows(job)
        scene.tell_others(job)
    clips.snap_to_frames()
    _remove_shells()
    return "import_scene.gltf"


def write(job: Job) -> None:
    """Exports the scene as glb, with every clip under its name."""
    _normalise_lights()
    with _rate_as_the_addon_means_it():
        exporting(
            job,
            bpy.ops.export_scene.gltf,
            check_existing=False,
            export_format="GLB",
            use_active_scene=True,
            export_yup=True,
            export_cameras=True,
            export_lights=True,
            export_extras=True,
            export_skins=True,
            # Without clips the pose is part of the model, with them it is some frame of one.
            export_rest_position_armature=bool(clips.takes(bpy.context.scene)),
            export_morph=True,
            export_morph_normal=True,
            # Point clouds and wire models have nothing else.
            use_mesh_vertices=_without_faces(),
            use_mesh_edges=_without_faces(),
            export_vertex_color="ACTIVE",
            export_all_vertex_colors=True,
            export_animations=job.animation,
            export_animation_mode="ACTIONS",
            export_merge_animation="ACTION",
            export_force_sampling=True,
            export_optimize_animation_size=True,
            export_draco_mesh_compression_enable=job.draco,
        )


@contextlib.contextmanager
def _rate_as_the_addon_means_it() -> Iterator[None]:
    """The add-on multiplies by ``fps_base`` where Blender divides by it: 29.97 frames a second would become 30.03."""
    render = bpy.context.scene.render
    base = render.fps_base
    render.fps_base = 1 / base
    try:
        yield
    finally:
        render.fps_base = base


def _leave_out_what_no_scene_shows(job: Job) -> None:
    collections = bpy.context.view_layer.layer_collection.children
    orphans = [collection for collection in collections if collection.name.startswith("Orphan Nodes")]
    for collection in orphans:
        collection.exclude = True
    if orphans:
        scene.leave_out_hidden(job)


def _remove_shells() -> None:
    """Removes the empties that the importer leaves where it moved a skinned mesh to its skeleton.

    It leaves one behind wherever the mesh is animated, and gives the mesh another name: one more with every round trip.
    """
    for mesh in scene.meshes():
        name, dot, number = mesh.name.rpartition(".")
        shell = bpy.data.objects.get(name) if dot and number.isdigit() and mesh.find_armature() else None
        if shell and shell.type == "EMPTY" and not shell.children and not shell.animation_data and not shell.keys():
            bpy.data.objects.remove(shell)
            mesh.name = name


def _without_faces() -> bool:
    return any(item.data.vertices and not item.data.polygons for item in scene.meshes())


def _normalise_lights() -> None:
    """Lights whose strength grows with their size, as USD's do, stop Blender 5.0's exporter with a TypeError."""
    for item in scene.objects():
        if item.type == "LIGHT" and not item.data.normalize:
            item.data.energy *= item.data.area(matrix_world=item.matrix_world)
            item.data.normalize = True


def _document(path: Path) -> dict:
    """The JSON of a gltf or glb file; empty when there is none (the importer will say what it thinks of it)."""
    try:
        version, text = glb.version_and_json(path) or (2, path.read_bytes())
        if version == 1:
            return {"asset": {"version": "1.0"}}
        document = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _set_fps(document: dict) -> None:
    """Makes the scene's frames the file's keys, so that no clip is sampled at another rate than it was made with."""
    rates: dict[int, int] = {}
    exact: dict[int, tuple[float, float]] = {}
    accessors = document.get("accessors") or []
    try:
        for animation in document.get("animations") or []:
            for sampler in animation["samplers"]:
                times = accessors[sampler["input"]]
                seconds = times["max"][0] - times["min"][0]
                # Few keys, as of bones that stand still, say nothing of the rate at which they were made.
                if times["count"] < 2 or seconds <= 0:
                    continue
                rate = (times["count"] - 1) / seconds
                if 12 <= round(rate) <= 240 and abs(rate - round(rate)) < 0.01 * rate:
                    rates[round(rate)] = rates.get(round(rate), 0) + times["count"]
                    exact[round(rate)] = max(exact.get(round(rate), (0.0, 0.0)), (seconds, rate))
    except (LookupError, TypeError):
        return
    if rates:
        rate = max(rates, key=lambda rate: (rates[rate], rate))
        render = bpy.context.scene.render
        render.fps = rate
        # 29.97 is not 30: of the longest clip the exact rate, as far as its times, which are floats, tell it.
        precise = exact[rate][1]
        if abs(precise - rate) > 1e-6 * rate:
            render.fps_base = rate / precise
