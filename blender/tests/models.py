"""Models that the tests build with Blender."""

import bpy
from mathutils import Vector

# The figure: 1.8 m tall, upright, facing -y in Blender (+z in the y-up world of reports), and asymmetric on every axis,
# so that its bounds show a wrong unit, a wrong axis and a mirrored axis alike.
LOW, HIGH = (-0.2, -0.25, 0.0), (0.3, 0.1, 1.8)
BOUNDS = {"min": [-0.2, 0.0, -0.1], "max": [0.3, 1.8, 0.25]}

# The last frame of clips that are compared frame by frame.
LAST = 21


def box(name: str, low: tuple = LOW, high: tuple = HIGH) -> bpy.types.Object:
    """A mesh object: a box of quads with UVs."""
    corners = [(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(corners, [], faces)
    layer = mesh.uv_layers.new(name="UVMap")
    square = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    for index, loop in enumerate(layer.data):
        loop.uv = square[index % 4]
    item = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(item)
    return item


def figure() -> bpy.types.Object:
    """The figure without a skeleton."""
    return box("Figure")


def material(name: str, image: bpy.types.Image | None = None) -> bpy.types.Material:
    """A red material, or one with the picture as its colour."""
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    shader = made.node_tree.nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value = (0.8, 0.1, 0.1, 1.0)
    if image is not None:
        node = made.node_tree.nodes.new("ShaderNodeTexImage")
        node.image = image
        made.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
    return made


def picture(name: str = "skin.png", size: int = 8, blue: float = 0.1) -> bpy.types.Image:
    """A packed picture: green, or with some blue."""
    made = bpy.data.images.new(name, size, size)
    made.pixels = [0.1, 0.9, blue, 1.0] * (size * size)
    made.pack()
    return made


def skinned_figure() -> bpy.types.Object:
    """The figure on two bones, textured, with two blend shapes and vertex colours."""
    item = box("Body")
    item.data.materials.append(material("Skin", picture()))
    item.data.materials.append(material("Cloth"))
    item.data.polygons[1].material_index = 1
    colours = item.data.color_attributes.new("Col", "BYTE_COLOR", "CORNER")
    for index, value in enumerate(colours.data):
        value.color = (index / len(colours.data), 0.5, 0.25, 1.0)

    armature = bpy.data.armatures.new("Rig")
    rig = bpy.data.objects.new("Rig", armature)
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    low = armature.edit_bones.new("Low")
    low.head, low.tail = (0, 0, 0), (0, 0, 0.9)
    high = armature.edit_bones.new("High")
    high.head, high.tail = (0, 0, 0.9), (0, 0, 1.8)
    high.parent = low
    bpy.ops.object.mode_set(mode="OBJECT")

    for name, is_high in (("Low", False), ("High", True)):
        group = item.vertex_groups.new(name=name)
        group.add([vertex.index for vertex in item.data.vertices if (vertex.co.z > 0.9) == is_high], 1.0, "REPLACE")
    item.parent = rig
    item.modifiers.new("Armature", "ARMATURE").object = rig
    item.shape_key_add(name="Basis")
    for name, axis in (("Wide", 0), ("Deep", 1)):
        key = item.shape_key_add(name=name)
        key.value = 0.0
        key.data[7].co = item.data.vertices[7].co + Vector([0.5 * (index == axis) for index in range(3)])
    return rig


def clip(rig: bpy.types.Object, name: str, last: int, *, shape: bpy.types.ID | None = None) -> bpy.types.Action:
    """A clip from frame 1 to ``last`` that turns the upper bone, and a blend shape when its keys are given."""
    action = bpy.data.actions.new(name)
    data = rig.animation_data or rig.animation_data_create()
    data.action = action
    data.action_slot = action.slots.new("OBJECT", rig.name)
    bone = rig.pose.bones["High"]
    bone.rotation_mode = "XYZ"
    for frame, angle in ((1, 0.0), ((1 + last) // 2, 0.7), (last, 0.0)):
        bone.rotation_euler = (angle, 0, 0)
        bone.keyframe_insert("rotation_euler", frame=frame)
    if shape is not None:
        keys = shape.animation_data or shape.animation_data_create()
        keys.action = action
        keys.action_slot = action.slots.new("KEY", shape.name)
        for frame, value in ((1, 0.0), (last, 1.0)):
            shape.key_blocks["Wide"].value = value
            shape.key_blocks["Wide"].keyframe_insert("value", frame=frame)
        shape.key_blocks["Wide"].value = 0.0
    return action


def keys(item: bpy.types.Object, path: str, places: dict[int, float], index: int = 0, name: str = "") -> None:
    """Makes a clip of the object, or of the bone in ``path``, and assigns it."""
    data = item.animation_data or item.animation_data_create()
    if not data.action or name:
        data.action = bpy.data.actions.new(name or f"{item.name}Action")
        data.action.use_fake_user = True
        data.action_slot = data.action.slots.new("OBJECT", item.name)
        data.action.layers.new("Layer").strips.new(type="KEYFRAME")
    bag = data.action.layers[0].strips[0].channelbag(data.action_slot, ensure=True)
    points = bag.fcurves.new(path, index=index).keyframe_points
    for frame, value in places.items():
        points.insert(frame, value)


def empty(name: str, place: tuple) -> bpy.types.Object:
    """An empty object in the scene."""
    item = bpy.data.objects.new(name, None)
    item.location = place
    bpy.context.scene.collection.objects.link(item)
    return item


def lively_figure() -> None:
    """The skinned figure with two clips, one of which also moves a blend shape."""
    rig = skinned_figure()
    bpy.context.scene.render.fps = 30
    keys = bpy.data.objects["Body"].data.shape_keys
    clip(rig, "Nod", 31, shape=keys).use_fake_user = True
    clip(rig, "Walk", 16).use_fake_user = True
