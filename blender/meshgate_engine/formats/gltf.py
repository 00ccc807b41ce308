"""glTF 2.0: reads glb and gltf, writes glb. The service converts that to gltf itself."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
from io_scene_gltf2.blender.exp import export as exporter
from io_scene_gltf2.blender.exp.material import materials
from io_scene_gltf2.blender.imp.scene import BlenderScene
from io_scene_gltf2.io.com.gltf2_io import Animation
from io_scene_gltf2.io.imp.gltf2_io_binary import BinaryData
from io_scene_gltf2.io.imp.gltf2_io_gltf import glTFImporter

from ..animation import clips, frame_rate
from ..blender_api import attributes, scene, visibility
from ..blender_api.addon_patches import patched
from ..blender_api.operators import exporting, importing
from ..errors import ConversionError
from ..job import Job
from ..materials import features
from . import glb_container

# Extensions that the importer does not read -> feature, and the property that is 0 without it.
_UNREAD = {
    "KHR_materials_iridescence": ("iridescence", "iridescenceFactor"),
    "KHR_materials_dispersion": ("dispersion", "dispersion"),
    "KHR_materials_diffuse_transmission": ("diffuse transmission", "diffuseTransmissionFactor"),
}
# How many numbers a key of a channel has; weights of blend shapes are scalars.
_FLOATS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}


def read(job: Job) -> str:
    document = glb_container.document(Path(job.input))
    version = str((document.get("asset") or {}).get("version", "")) if document else ""
    if version.startswith("1."):
        raise ConversionError("import_failed", f"the file is glTF {version}; only 2.0 can be read")
    # If the file names its default scene, the others become scenes. As collections they would be hidden objects of this
    # scene, which some exporters write.
    apart = len(document.get("scenes") or []) > 1 and document.get("scene") is not None
    with _frame_rate_from_keys():
        importer = importing(
            job,
            bpy.ops.import_scene.gltf,
            # Otherwise every bone adds a sphere to the scene.
            disable_bone_shape=True,
            import_webp_texture=True,
            import_scene_as_collection=not apart,
        )
    if apart:
        collections = bpy.context.view_layer.layer_collection.children
        orphans = [collection for collection in collections if collection.name.startswith("Orphan Nodes")]
        for collection in orphans:
            collection.exclude = True
        if orphans:
            visibility.remove_hidden(job)
        scene.report_other_scenes(job)
    report_unread(job, document)
    clips.snap_to_frames()
    _remove_leftover_empties()
    return importer


def report_unread(job: Job, document: dict) -> None:
    """Reports features of a document's materials that the importer does not read."""
    lost = Counter()
    for material in document.get("materials") or []:
        extensions = material.get("extensions") or {}
        found = {name: value for name, value in extensions.items() if isinstance(value, dict)}
        lost.update(word for name, (word, value) in _UNREAD.items() if found.get(name, {}).get(value))
    for word, count in sorted(lost.items()):
        job.lose("feature", count, "not read", name=word)


def write(job: Job) -> None:
    """Exports the scene as glb, with every clip under its name."""
    _normalise_lights()
    without_faces = any(item.data.vertices and not item.data.polygons for item in scene.meshes())
    with _fps_base_inverted(), chosen_refraction(job):
        exporting(
            job,
            bpy.ops.export_scene.gltf,
            export_format="GLB",
            # Otherwise the file gets all scenes.
            use_active_scene=True,
            export_cameras=True,
            export_lights=True,
            export_extras=True,
            # Without clips the pose belongs to the model; with clips it is only a frame of one of them.
            export_rest_position_armature=bool(clips.find()),
            # Point clouds and wireframes have no faces.
            use_mesh_vertices=without_faces,
            use_mesh_edges=without_faces,
            export_vertex_color="ACTIVE",
            export_animations=job.animation,
            export_draco_mesh_compression_enable=job.draco,
        )
    _restore_still_keys(Path(job.output))


def texture_names(path: Path) -> list[str]:
    """The names of the images in a glb."""
    document, _buffer = glb_container.load(path)
    return [image.get("name", "") for image in document.get("images", [])]


@contextlib.contextmanager
def chosen_refraction(job: Job) -> Iterator[None]:
    """Makes the add-on write every index of refraction that an author chose.

    Cause: ``export_ior`` of ``io_scene_gltf2/blender/exp/material/extensions/ior.py`` and ``__check_ior`` of
    ``exp/export.py`` keep an index only beside other extensions such as transmission, as the add-on's author intends:
    https://github.com/KhronosGroup/glTF-Blender-IO/issues/2379. glTF add-on 5.0.21 (Blender 5.0.1); it can go when the
    add-on writes KHR_materials_ior for any value but 1.5.
    """
    export_ior, check_ior = materials.export_ior, exporter.__check_ior
    chosen = set()

    def export(material: bpy.types.Material, extensions: dict, settings: dict) -> object:
        if "index of refraction" not in features.found_in(job, material):
            return export_ior(material, extensions, settings)
        chosen.add(material.name)
        return export_ior(material, {**extensions, "KHR_materials_specular": None}, settings)

    def check(document: dict, settings: dict) -> None:
        """Removes indices without other extensions, as the add-on does, but keeps the chosen ones."""
        others = [material for material in document.get("materials", []) if material.get("name") not in chosen]
        declared = settings["gltf_need_to_keep_extension_declaration"]
        check_ior({"materials": others}, settings)
        if chosen:
            settings["gltf_need_to_keep_extension_declaration"] = declared

    with patched(materials, export_ior=export), patched(exporter, __check_ior=check):
        yield


def _frame_rate_from_keys() -> contextlib.AbstractContextManager[None]:
    """Sets the scene's frame rate to that of the keys before the add-on makes the clips.

    Cause: ``create_animations`` of ``io_scene_gltf2/blender/imp/scene.py`` uses the scene's rate as it is, and the
    add-on's author keeps it so: https://github.com/KhronosGroup/glTF-Blender-IO/issues/31. glTF add-on 5.0.21 (Blender
    5.0.1); it can go when the add-on guesses the rate.
    """
    create_animations = BlenderScene.create_animations

    def create(gltf: glTFImporter) -> None:
        found = frame_rate.rate([_curves(gltf, animation) for animation in gltf.data.animations or []])
        if found:
            scene.set_frame_rate(found)
        with _fps_base_inverted():
            create_animations(gltf)

    return patched(BlenderScene, create_animations=create)


def _curves(gltf: glTFImporter, animation: Animation) -> list[frame_rate.Curve]:
    smooth = {sampler.input: sampler.interpolation == "CUBICSPLINE" for sampler in animation.samplers}
    curves = []
    for accessor, is_smooth in smooth.items():
        times = np.sort(BinaryData.decode_accessor(gltf, accessor)[:, 0].astype(np.float64))
        if len(times) and np.isfinite(times).all():
            curves.append(frame_rate.Curve(times, is_smooth))
    return curves


def _restore_still_keys(path: Path) -> None:
    """Restores the keys of clips in which nothing moves: the add-on keeps two, so that a clip would have two frames.

    It does so on purpose: https://github.com/KhronosGroup/glTF-Blender-IO/pull/1433.
    """
    frames = {clip.name: int(clip.end) - int(clip.start) + 1 for clip in clips.find()}
    if max(frames.values(), default=0) <= 2:
        return
    document = glb_container.document(path)
    if not document:
        raise ConversionError("export_failed", "the glb that was written cannot be read")
    accessors = document.get("accessors", [])
    still = []
    for animation in document.get("animations", []):
        sampler = max(animation["samplers"], key=lambda sampler: accessors[sampler["input"]]["count"])
        if accessors[sampler["input"]]["count"] == 2 < frames.get(animation["name"], 0):
            still.append((sampler, frames[animation["name"]]))
    if not still:
        return
    buffer, length = glb_container.buffer_place(path)
    more = b""
    for sampler, count in still:
        times, values = accessors[sampler["input"]], accessors[sampler["output"]]
        with path.open("rb") as file:
            place = document["bufferViews"][values["bufferView"]].get("byteOffset", 0)
            file.seek(buffer + place + values.get("byteOffset", 0))
            key = file.read(_FLOATS[values["type"]] * 4 * values["count"] // 2)
        made = (
            (times, np.linspace(times["min"][0], times["max"][0], count, dtype=np.float32).tobytes(), count),
            (values, key * count, values["count"] // 2 * count),
        )
        for name, (like, content, number) in zip(("input", "output"), made, strict=True):
            sampler[name] = len(accessors)
            accessors.append({**like, "bufferView": len(document["bufferViews"]), "byteOffset": 0, "count": number})
            view = {"buffer": 0, "byteOffset": length + len(more), "byteLength": len(content)}
            document["bufferViews"].append(view)
            more += content
    document["buffers"][0]["byteLength"] = length + len(more)
    glb_container.extend(path, document, more)


def _fps_base_inverted() -> contextlib.AbstractContextManager[None]:
    """Inverts ``fps_base`` for the add-on, which multiplies by it where Blender divides: 29.97 would become 30.03.

    Cause: ``fps * fps_base``, in ``imp/animation_node.py`` and in the samplers of ``exp/animation``. No upstream issue
    known; the add-on uses ``fps_base`` since https://github.com/KhronosGroup/glTF-Blender-IO/pull/2080. glTF add-on
    5.0.21 (Blender 5.0.1); it can go when the add-on divides.
    """
    render = bpy.context.scene.render
    return attributes.changed([render], fps_base=1 / render.fps_base)


def _remove_leftover_empties() -> None:
    """Removes empties that the importer leaves where it moved an animated skinned mesh to its skeleton.

    It also renames the mesh, so that every round trip would add an empty. Cause: ``move_skinned_meshes`` of
    ``io_scene_gltf2/blender/imp/vnode.py``; https://github.com/KhronosGroup/glTF-Blender-IO/pull/889 avoids the empties
    of meshes that are not animated.
    """
    for mesh in scene.meshes():
        name, dot, number = mesh.name.rpartition(".")
        shell = bpy.data.objects.get(name) if dot and number.isdigit() and mesh.find_armature() else None
        if shell and shell.type == "EMPTY" and not shell.children and not shell.animation_data and not shell.keys():
            bpy.data.objects.remove(shell)
            mesh.name = name


def _normalise_lights() -> None:
    """Converts colour temperatures, and strengths that grow with the size, to plain colour and strength.

    Lights from USD have both, and the exporter fails on them:
    https://github.com/KhronosGroup/glTF-Blender-IO/issues/2607 (temperature) and
    https://github.com/KhronosGroup/glTF-Blender-IO/issues/2663 (strength). glTF add-on 5.0.21 (Blender 5.0.1); it can
    go with a version that has both corrections.
    """
    for item in [item for item in scene.objects() if item.type == "LIGHT"]:
        light = item.data
        if not light.normalize:
            light.energy *= light.area(matrix_world=item.matrix_world)
            light.normalize = True
        if light.use_temperature:
            colour = [own * warm for own, warm in zip(light.color, light.temperature_color, strict=True)]
            # Colours in glTF are at most 1.
            brightest = max(*colour, 1.0)
            light.color = [value / brightest for value in colour]
            light.energy *= brightest
            light.use_temperature = False
