"""Queries of the scene that is converted, and of all of Blender's data."""

from collections.abc import Iterator

import bpy

from ..job import Job


def objects() -> list[bpy.types.Object]:
    """The objects of the scene."""
    return list(bpy.context.scene.objects)


def meshes() -> list[bpy.types.Object]:
    """The objects of the scene that are meshes."""
    return [item for item in bpy.context.scene.objects if item.type == "MESH"]


def armatures() -> list[bpy.types.Object]:
    """The armature objects of the scene."""
    return [item for item in bpy.context.scene.objects if item.type == "ARMATURE"]


def referenced_objects(what: bpy.types.Constraint | bpy.types.Modifier) -> Iterator[bpy.types.Object | None]:
    """The objects that the settings of a constraint or modifier refer to; None for each setting that is empty."""
    for attribute in what.bl_rna.properties:
        if attribute.type == "POINTER" and attribute.fixed_type.identifier == "Object":
            yield getattr(what, attribute.identifier)


def unlink(item: bpy.types.Object) -> None:
    """Takes an object out of all collections; its data stays, since other objects may use it."""
    for collection in list(item.users_collection):
        collection.objects.unlink(item)


def unlink_meshes() -> None:
    """Takes all meshes out of the scene, since evaluating them in every frame takes longer than the skeleton."""
    for mesh in meshes():
        unlink(mesh)


def metres_per_unit() -> float:
    """The length of the scene's unit in metres."""
    units = bpy.context.scene.unit_settings
    return 1.0 if units.system == "NONE" else units.scale_length


def use_metres() -> float:
    """Makes the metre the scene's unit; returns the factor by which everything has to be scaled."""
    factor = metres_per_unit()
    units = bpy.context.scene.unit_settings
    units.system, units.scale_length = "METRIC", 1.0
    return factor


def frame_rate() -> float:
    """The scene's frames per second."""
    render = bpy.context.scene.render
    return render.fps / render.fps_base


def set_frame_rate(fps: float) -> None:
    """Sets the scene's frames per second, which Blender stores as a whole number and a divisor."""
    render = bpy.context.scene.render
    render.fps = min(max(round(fps), 1), 10_000)
    render.fps_base = render.fps / fps if fps > 0 else 1.0


def all_data() -> Iterator[bpy.types.ID]:
    """All data blocks, of every type."""
    for kind in bpy.data.bl_rna.properties:
        if kind.type == "COLLECTION":
            yield from getattr(bpy.data, kind.identifier)


def embedded_data() -> Iterator[bpy.types.ID]:
    """The node trees and collections that belong to another data block, and so are in no list of Blender's."""
    data = bpy.data
    owners = (data.scenes, data.materials, data.worlds, data.lights, data.linestyles, data.textures)
    for owner in (owner for each in owners for owner in each):
        for name in ("node_tree", "collection"):
            found = getattr(owner, name, None)
            if isinstance(found, bpy.types.ID) and found.is_embedded_data:
                yield found


def unlink_socket(socket: bpy.types.NodeSocket) -> None:
    """Removes the links to or from a socket."""
    for link in list(socket.links):
        socket.id_data.links.remove(link)


def node_trees() -> list[bpy.types.NodeTree]:
    """All node trees that are not linked from another file."""
    trees = [found for found in embedded_data() if isinstance(found, bpy.types.NodeTree)]
    return [tree for tree in [*trees, *bpy.data.node_groups] if tree.is_editable]


def clear() -> None:
    """Empties the scene; add-ons stay enabled."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)


def report_other_scenes(job: Job) -> None:
    """Reports that scenes besides the active one are lost; a .blend keeps them."""
    if not job.target.is_native:
        job.lose("other scenes", len(bpy.data.scenes) - 1, "active scene")
