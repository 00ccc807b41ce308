"""Makes meshes of curves, texts and metaballs, and objects of instances.

Some exporters write curves and instances, some do not, and some write them twice. Every exporter writes meshes and
objects, and the report counts those.
"""

from collections import defaultdict
from collections.abc import Iterator

import bpy
from mathutils import Matrix

from ..blender_api import object_replacement, scene
from ..job import Job
from . import modifiers

# Blender's types of objects that show a mesh without being one, and its modifiers that make instances.
_SURFACES = {"CURVE", "SURFACE", "FONT", "META", "CURVES", "POINTCLOUD", "VOLUME"}
_INSTANCING = {"NODES", "PARTICLE_SYSTEM"}


def realize(job: Job) -> None:
    """Makes meshes of all surfaces, and objects of all instances."""
    _realize_collections()
    if not any(
        item.type in _SURFACES or item.instance_type != "NONE" or _instancing_modifiers(item)
        for item in scene.objects()
    ):
        return
    children = object_replacement.children()
    for holder, shown in _shown_meshes().items():
        item = holder
        if holder.type in _SURFACES:
            own = next((mesh for mesh, matrix in shown if matrix == Matrix.Identity(4)), None)
            if own is not None:
                if any(modifier.type == "ARMATURE" for modifier in holder.modifiers):
                    job.lose("skin", 1, "no mesh", name=holder.name)
                item = object_replacement.replace(holder, own, children)
                shown = [(mesh, matrix) for mesh, matrix in shown if mesh != own]
            else:
                for modifier in _instancing_modifiers(item):
                    item.modifiers.remove(modifier)
        elif holder.type == "MESH":
            if _instancing_modifiers(holder):
                modifiers.apply_or_remove(job, holder)
            if not holder.show_instancer_for_viewport or not len(holder.data.vertices):
                # Blender hides it: it becomes the instances' parent, without a mesh that a report would count.
                holder.data = bpy.data.meshes.new(holder.data.name)
        for mesh, matrix in shown:
            made = bpy.data.objects.new(mesh.name, mesh)
            made.parent = item
            # Unlike location, rotation and scale, this holds any matrix.
            made.matrix_parent_inverse = matrix
            bpy.context.scene.collection.objects.link(made)
        item.instance_type = "NONE"
    # Only the first metaball of a family has a surface; if it went alone, the next would get one.
    for item in [item for item in scene.objects() if item.type == "META" and item.visible_get()]:
        object_replacement.replace(item, None, children)


def _instancing_modifiers(item: bpy.types.Object) -> list[bpy.types.Modifier]:
    return [modifier for modifier in item.modifiers if modifier.type in _INSTANCING]


def _shown_meshes() -> dict[bpy.types.Object, list[tuple[bpy.types.Mesh, Matrix]]]:
    """The meshes that each object shows besides itself, with their matrices in the space of the object."""
    copies: dict[int, bpy.types.Mesh] = {}
    found = defaultdict(list)
    for entry in bpy.context.evaluated_depsgraph_get().object_instances:
        if not entry.is_instance or entry.object.type != "MESH" or not len(entry.object.data.vertices):
            continue
        data = entry.object.data
        mesh = copies.get(data.as_pointer())
        if mesh is None:
            mesh = copies[data.as_pointer()] = data.copy()
            mesh.name = entry.instance_object.name
            # The materials that the object uses instead.
            for index, slot in enumerate(entry.object.material_slots):
                if slot.link == "OBJECT" and slot.material and index < len(mesh.materials):
                    mesh.materials[index] = slot.material.original
        own = entry.parent.matrix_world
        place = Matrix.Identity(4) if entry.matrix_world == own else own.inverted_safe() @ entry.matrix_world
        found[entry.parent.original].append((mesh, place))
    return found


def _realize_collections() -> None:
    """Makes objects of instanced collections, with their skeletons, clips, lights and cameras."""
    waiting = [item for item in scene.objects() if item.visible_get()]
    while waiting:
        item = waiting.pop()
        if item.instance_type == "COLLECTION" and item.instance_collection:
            collection = item.instance_collection
            item.instance_type = "NONE"
            waiting += _realize_collection(collection, item)


def _realize_collection(collection: bpy.types.Collection, holder: bpy.types.Object) -> list[bpy.types.Object]:
    # Each object once, in order.
    shown = list(dict.fromkeys(_visible_objects(collection)))
    copies = {source: source.copy() for source in collection.all_objects}
    offset = Matrix.Translation(-collection.instance_offset)
    for source, made in copies.items():
        if source.parent in copies:
            made.parent = copies[source.parent]
        else:
            outside = source.matrix_world @ source.matrix_basis.inverted_safe() if source.parent else Matrix.Identity(4)
            made.parent, made.parent_type = holder, "OBJECT"
            made.matrix_parent_inverse = offset @ outside
        for part in (*made.constraints, *made.modifiers):
            _redirect(part, copies)
    opened = [copies[source] for source in shown]
    there = set(scene.objects())
    for source, made in zip(shown, opened, strict=True):
        bpy.context.scene.collection.objects.link(made)
        if source not in there:
            # Clips that are not assigned find their objects by name.
            name, source.name = source.name, f"{source.name} before"
            made.name = name
    return opened


def _visible_objects(collection: bpy.types.Collection) -> Iterator[bpy.types.Object]:
    yield from (item for item in collection.objects if not item.hide_viewport)
    for child in collection.children:
        if not child.hide_viewport:
            yield from _visible_objects(child)


def _redirect(part: bpy.types.bpy_struct, copies: dict[bpy.types.Object, bpy.types.Object]) -> None:
    """Makes a modifier or constraint of a copy refer to the other copies."""
    for attribute in part.bl_rna.properties:
        if attribute.type == "POINTER" and not attribute.is_readonly:
            made = copies.get(getattr(part, attribute.identifier))
            if made is not None:
                setattr(part, attribute.identifier, made)
