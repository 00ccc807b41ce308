"""Makes the models in examples/: `.venv/bin/python scripts/make_examples.py examples/`.

They are made by this script and committed, so that nobody needs Blender to read them. Blender writes times and
random ids into FBX and .blend files, so those two differ from run to run in bytes that mean nothing.
"""

import math
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

# Blender writes the user's home folder into every .blend.
os.environ["HOME"] = "/"

import bpy
from example_figure import (
    ARM,
    ARM_CHAIN,
    BONES,
    FOOT,
    FOOT_CHAIN,
    HAIR,
    HEAD,
    LEG,
    LEG_CHAIN,
    THUMB,
    TILES,
    TORSO,
    TORSO_CHAIN,
    Ring,
    chain_weights,
    walk_pose,
    wave_pose,
)
from io_scene_fbx import export_fbx_bin
from mathutils import Matrix, Quaternion, Vector

FPS = 30
WALK_FRAMES = 31
WAVE_FRAMES = 61
SIDES = (("Left", 1), ("Right", -1))

Turns = dict[str, list[tuple[str, float]]]


def png(width: int, height: int, pixel: Callable[[int, int], tuple[int, int, int]]) -> bytes:
    """A PNG file whose pixels ``pixel(x, y)`` says, y downwards."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(v for x in range(width) for v in pixel(x, y)) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def figure_texture() -> bytes:
    tiles = list(TILES.values())

    def pixel(x: int, y: int) -> tuple[int, int, int]:
        index = y // 32 * 4 + x // 32
        if index >= len(tiles):
            return (128, 128, 128)
        base, stripe = tiles[index]
        return stripe if (y // 4) % 2 else base

    return png(128, 128, pixel)


def tile_uv(tile: str, u: float, v: float) -> tuple[float, float]:
    """The place in the texture of a point (0 to 1) of a tile, a little inside of it."""
    index = list(TILES).index(tile)
    return ((index % 4 + 0.06 + 0.88 * u) / 4, 1 - (index // 4 + 0.06 + 0.88 * v) / 4)


class Body:
    """Collects the parts of the mesh with their UVs and weights."""

    def __init__(self) -> None:
        self.vertices: list[Vector] = []
        self.faces: list[list[int]] = []
        self.uvs: list[list[tuple[float, float]]] = []
        self.weights: list[dict[str, float]] = []
        self.parts: dict[str, range] = {}

    def loft(
        self,
        name: str,
        rings: list[Ring],
        place: Callable[[float, float, float], Vector],
        weigh: Callable[[float], dict[str, float]],
        sides: int = 12,
    ) -> None:
        """A tube through ``rings``; ``place`` turns (along, first, second) into a point, ``weigh`` weighs a ring."""
        first = len(self.vertices)
        for along, a, b, radius_a, radius_b, _ in rings:
            for step in range(sides):
                angle = 2 * math.pi * step / sides
                self.vertices.append(place(along, a + radius_a * math.cos(angle), b + radius_b * math.sin(angle)))
                self.weights.append(weigh(along))
        # A mirrored placement turns faces inside out.
        outward = (place(0, 1, 0) - place(0, 0, 0)).cross(place(0, 0, 1) - place(0, 0, 0))
        rising = 1 if rings[-1][0] > rings[0][0] else -1
        flip = outward.dot(place(1, 0, 0) - place(0, 0, 0)) * rising < 0
        for index, ring in enumerate(rings[:-1]):
            for step in range(sides):
                following = (step + 1) % sides
                low, high = first + index * sides, first + (index + 1) * sides
                face = [low + step, low + following, high + following, high + step]
                uv = [tile_uv(ring[5], u, v) for u, v in self._corners(step / sides, (step + 1) / sides)]
                self._add(face, uv, flip)
        for start, tile, turned in ((first, rings[0][5], True), (len(self.vertices) - sides, rings[-2][5], False)):
            face = [start + step for step in range(sides)]
            self._add(face, [tile_uv(tile, 0.5, 0.5)] * sides, flip != turned)
        self.parts[name] = range(first, len(self.vertices))

    @staticmethod
    def _corners(left: float, right: float) -> list[tuple[float, float]]:
        return [(left, 0.1), (right, 0.1), (right, 0.9), (left, 0.9)]

    def _add(self, face: list[int], uv: list[tuple[float, float]], flip: bool) -> None:
        self.faces.append(face[::-1] if flip else face)
        self.uvs.append(uv[::-1] if flip else uv)


def face_rings(radius: tuple[float, float], depth: float, tile: str) -> list[Ring]:
    """A small flat button for eyes and nose, along its depth."""
    steps = [(-1.0, 0.35), (-0.6, 0.8), (0.0, 1.0), (0.6, 0.8), (1.0, 0.35)]
    return [(depth * along, 0, 0, radius[0] * size, radius[1] * size, tile) for along, size in steps]


def build_body() -> Body:
    body = Body()

    def head(_along: float) -> dict[str, float]:
        return {"Head": 1.0}

    def upright(z: float, x: float, y: float) -> Vector:
        return Vector((x, y, z))

    body.loft("torso", TORSO, upright, lambda z: chain_weights(TORSO_CHAIN, z, 0.12), 16)
    body.loft("head", HEAD, upright, head, 16)
    body.loft("hair", HAIR, upright, head, 16)
    body.loft(
        "nose", face_rings((0.011, 0.016), 0.016, "skin"), lambda y, x, z: Vector((x, y - 0.1, z + 1.66)), head, 8
    )
    body.loft(
        "mouth", face_rings((0.022, 0.005), 0.012, "mouth"), lambda y, x, z: Vector((x, y - 0.09, z + 1.615)), head
    )
    for side, sign in SIDES:

        def named(weights: dict[str, float], side: str = side) -> dict[str, float]:
            return {side + bone: weight for bone, weight in weights.items()}

        def leg(z: float, x: float, y: float, sign: int = sign) -> Vector:
            return Vector((sign * (0.095 + x), y, z))

        def foot(forward: float, x: float, z: float, sign: int = sign) -> Vector:
            return Vector((sign * (0.095 + x), -forward, max(0.0, z)))

        def arm(x: float, y: float, z: float, sign: int = sign) -> Vector:
            return Vector((sign * x, y, 1.44 + z))

        def thumb(along: float, a: float, b: float, sign: int = sign) -> Vector:
            return Vector((sign * (0.725 + 0.75 * along + a * 0.6), -0.022 - 0.66 * along + a * 0.6, 1.436 + b))

        def eye(y: float, x: float, z: float, sign: int = sign) -> Vector:
            return Vector((sign * (0.03 + x), y - 0.09, z + 1.69))

        body.loft(f"{side}Leg", LEG, leg, lambda z, n=named: n(chain_weights(LEG_CHAIN, -z, 0.09)))
        body.loft(f"{side}Foot", FOOT, foot, lambda y, n=named: n(chain_weights(FOOT_CHAIN, y, 0.05)))
        body.loft(f"{side}Arm", ARM, arm, lambda x, n=named: n(chain_weights(ARM_CHAIN, x, 0.08)))
        body.loft(f"{side}Thumb", THUMB, thumb, lambda _, side=side: {f"{side}Hand": 1.0}, 8)
        body.loft(f"{side}Eye", face_rings((0.0115, 0.0165), 0.0135, "eye"), eye, head, 10)
    return body


def make_mesh(body: Body, texture: Path) -> bpy.types.Object:
    mesh = bpy.data.meshes.new("Person")
    mesh.from_pydata(body.vertices, [], body.faces)
    layer = mesh.uv_layers.new(name="UVMap")
    for polygon, uvs in zip(mesh.polygons, body.uvs, strict=True):
        polygon.use_smooth = True
        for loop, uv in zip(polygon.loop_indices, uvs, strict=True):
            layer.data[loop].uv = uv
    mesh.materials.append(make_material("Person", texture))
    mesh.validate()

    person = bpy.data.objects.new("Person", mesh)
    bpy.context.scene.collection.objects.link(person)
    groups = {bone: person.vertex_groups.new(name=bone) for bone in BONES}
    for index, weights in enumerate(body.weights):
        for bone, weight in weights.items():
            groups[bone].add([index], weight, "REPLACE")
    add_blend_shapes(person, body)
    return person


def add_blend_shapes(person: bpy.types.Object, body: Body) -> None:
    person.shape_key_add(name="Basis", from_mix=False)
    blink = person.shape_key_add(name="Blink", from_mix=False)
    for side, _ in SIDES:
        for index in body.parts[f"{side}Eye"]:
            point = blink.data[index].co
            point.z = 1.688 + (point.z - 1.69) * 0.1
    smile = person.shape_key_add(name="Smile", from_mix=False)
    for index in body.parts["mouth"]:
        point = smile.data[index].co
        point.x *= 1.45
        point.z += 0.016 * (abs(point.x) / 0.032) ** 2 - 0.003
        point.y += 0.012 * (abs(point.x) / 0.032) ** 2


def make_material(name: str, texture: Path) -> bpy.types.Material:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    shader = material.node_tree.nodes["Principled BSDF"]
    shader.inputs["Roughness"].default_value = 0.8
    image = material.node_tree.nodes.new("ShaderNodeTexImage")
    image.image = bpy.data.images.load(str(texture))
    image.image.pack()
    material.node_tree.links.new(image.outputs["Color"], shader.inputs["Base Color"])
    return material


def make_armature(person: bpy.types.Object) -> bpy.types.Object:
    data = bpy.data.armatures.new("Armature")
    armature = bpy.data.objects.new("Armature", data)
    bpy.context.scene.collection.objects.link(armature)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    for name, (parent, start, end) in BONES.items():
        bone = data.edit_bones.new(name)
        bone.head, bone.tail = start, end
        if parent:
            bone.parent = data.edit_bones[parent]
            bone.use_connect = (bone.head - bone.parent.tail).length < 1e-6
    bpy.ops.object.mode_set(mode="OBJECT")
    person.parent = armature
    person.modifiers.new("Armature", "ARMATURE").object = armature
    return armature


def turned(turns: list[tuple[str, float]]) -> Quaternion:
    result = Quaternion()
    for axis, degrees in turns:
        result = Matrix.Rotation(math.radians(degrees), 3, axis.upper()).to_quaternion() @ result
    return result


def make_clip(
    armature: bpy.types.Object,
    name: str,
    frames: int,
    pose: Callable[[float], tuple[Turns, tuple[float, float, float]]],
) -> None:
    """An action of its own, kept by an NLA track, so that every exporter finds it."""
    armature.animation_data_create()
    action = bpy.data.actions.new(name)
    armature.animation_data.action = action
    for frame in range(1, frames + 1, 2):
        turns, hips = pose((frame - 1) / (frames - 1))
        for bone in armature.pose.bones:
            rest = bone.bone.matrix_local.to_quaternion()
            bone.rotation_quaternion = rest.inverted() @ turned(turns.get(bone.name, [])) @ rest
            bone.keyframe_insert("rotation_quaternion", frame=frame)
        bone = armature.pose.bones["Hips"]
        bone.location = bone.bone.matrix_local.to_quaternion().inverted() @ Vector(hips)
        bone.keyframe_insert("location", frame=frame)
    slot = armature.animation_data.action_slot
    armature.animation_data.action = None
    track = armature.animation_data.nla_tracks.new()
    track.name = name
    track.strips.new(name, 1, action).action_slot = slot
    track.mute = True
    for bone in armature.pose.bones:
        bone.matrix_basis.identity()
        bone.rotation_quaternion = Quaternion()
        bone.location = Vector()


def export_figure(folder: Path, armature: bpy.types.Object) -> None:
    # Otherwise the file contains the path of this machine.
    export_fbx_bin._gen_vid_path = lambda image, _scene: (f"{image.name}.png", f"{image.name}.png")
    bpy.ops.export_scene.fbx(
        filepath=str(folder / "humanoid.fbx"),
        object_types={"ARMATURE", "MESH"},
        add_leaf_bones=False,
        path_mode="COPY",
        embed_textures=True,
        bake_anim_use_all_bones=True,
        bake_anim_use_nla_strips=False,
        bake_anim_use_all_actions=True,
    )
    # An older file would be kept as a backup.
    (folder / "humanoid.blend").unlink(missing_ok=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "humanoid.blend"), compress=True, copy=True)

    bpy.ops.preferences.addon_enable(module="io_scene_vrm")
    extension = armature.data.vrm_addon_extension
    extension.spec_version = "1.0"
    for bone in BONES:
        # The add-on spells LeftUpperArm as left_upper_arm.
        name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in bone)[1:]
        getattr(extension.vrm1.humanoid.human_bones, name).node.bone_name = bone
    vrm = extension.vrm1
    vrm.meta.vrm_name = "Meshgate example person"
    vrm.meta.authors.add().value = "The Meshgate authors"
    vrm.meta.allow_redistribution = True
    vrm.meta.modification = "allowModificationRedistribution"
    vrm.meta.commercial_usage = "corporation"
    vrm.meta.credit_notation = "unnecessary"
    for expression, shape in (("blink", "Blink"), ("happy", "Smile")):
        bind = getattr(vrm.expressions.preset, expression).morph_target_binds.add()
        bind.node.mesh_object_name = "Person"
        bind.index = shape
        bind.weight = 1.0
    # Sparse blend shapes, since few vertices move.
    sparse = {"enable_advanced_preferences": True, "export_try_sparse_sk": True}
    if bpy.ops.export_scene.vrm(filepath=str(folder / "humanoid.vrm"), **sparse) != {"FINISHED"}:
        sys.exit("the VRM was not written")


# The usual bone names of motion capture, for the figure's bones.
BVH_NAMES = {"Spine": "Spine", "Chest": "Spine1", "UpperArm": "Arm", "LowerArm": "ForeArm", "UpperLeg": "UpLeg"}
BVH_NAMES |= {"LowerLeg": "Leg", "Toes": "ToeBase"}
BVH_FRAME_TIME = 0.0083333
BVH_FRAMES = 96


def bvh_name(bone: str) -> str:
    side = next((side for side, _ in SIDES if bone.startswith(side)), "")
    part = bone.removeprefix(side)
    return side + BVH_NAMES.get(part, part)


def write_walk(path: Path) -> None:
    """A walk as motion capture writes it: centimetres, y up, facing +z, 120 frames a second."""

    def to_bvh(point: Vector) -> Vector:
        return Vector((point[0], point[2], -point[1])) * 100

    lines = ["HIERARCHY"]
    order: list[str] = []

    def joint(bone: str, depth: int) -> None:
        parent, start, end = BONES[bone]
        tabs = "\t" * depth
        offset = to_bvh(Vector(start) - Vector(BONES[parent][1] if parent else (0, 0, 0)))
        order.append(bone)
        lines.append(f"{tabs}{'JOINT' if parent else 'ROOT'} {bvh_name(bone)}")
        lines.append(f"{tabs}{{")
        lines.append(f"{tabs}\tOFFSET {offset.x:.4f} {offset.y:.4f} {offset.z:.4f}")
        position = "" if parent else "Xposition Yposition Zposition "
        lines.append(f"{tabs}\tCHANNELS {3 if parent else 6} {position}Zrotation Xrotation Yrotation")
        children = [name for name, (above, _, _) in BONES.items() if above == bone]
        for child in children:
            joint(child, depth + 1)
        if not children:
            tip = to_bvh(Vector(end) - Vector(start))
            lines.append(f"{tabs}\tEnd Site\n{tabs}\t{{")
            lines.append(f"{tabs}\t\tOFFSET {tip.x:.4f} {tip.y:.4f} {tip.z:.4f}\n{tabs}\t}}")
        lines.append(f"{tabs}}}")

    joint("Hips", 0)
    lines += ["MOTION", f"Frames: {BVH_FRAMES}", f"Frame Time: {BVH_FRAME_TIME}"]
    axes = Matrix(((1, 0, 0), (0, 0, 1), (0, -1, 0))).to_quaternion()
    for frame in range(BVH_FRAMES):
        seconds = frame * BVH_FRAME_TIME
        turns, hips = walk_pose(seconds % 1.0)
        # 1.25 m/s towards -y, the figure's front.
        place = to_bvh(Vector(BONES["Hips"][1]) + Vector(hips) + Vector((0, -1.25 * seconds, 0)))
        values = [f"{value:.4f}" for value in place]
        for bone in order:
            rotation = (axes @ turned(turns.get(bone, [])) @ axes.inverted()).to_euler("YXZ")
            values += [f"{math.degrees(angle):.4f}" for angle in (rotation.z, rotation.x, rotation.y)]
        lines.append(" ".join(values))
    path.write_text("\n".join(lines) + "\n")


def crate_texture(x: int, y: int) -> tuple[int, int, int]:
    """Planks in a frame."""
    edge = min(x, y, 63 - x, 63 - y)
    grain = (x * 7 + (y // 3) * 13) % 11
    if edge in (0, 7):
        return (70, 44, 24)
    if edge < 7 or abs(x - y) < 4:
        return (150 + grain, 104 + grain, 60)
    return (84, 54, 30) if y % 14 == 0 else (184 + grain, 136 + grain, 84)


def write_crate(folder: Path) -> None:
    """A crate of one metre as an OBJ with its materials and a texture whose name has a space."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "crate wood.png").write_bytes(png(64, 64, crate_texture))
    (folder / "crate.mtl").write_text(
        "newmtl Wood\nKd 1 1 1\nKs 0.1 0.1 0.1\nNs 40\nmap_Kd crate wood.png\n\n"
        "newmtl Iron\nKd 0.25 0.27 0.3\nKs 0.5 0.5 0.5\nNs 120\n"
    )
    lines = ["mtllib crate.mtl", "o Crate"]
    lines += ["vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1"]
    lines += ["vn 1 0 0", "vn -1 0 0", "vn 0 1 0", "vn 0 -1 0", "vn 0 0 1", "vn 0 0 -1"]
    boxes = [("Wood", (-0.5, 0, -0.5), (0.5, 1, 0.5))]
    for x, y, z in ((x, y, z) for x in (-0.46, 0.46) for y in (0.05, 0.95) for z in (-0.46, 0.46)):
        boxes.append(("Iron", (x - 0.05, y - 0.05, z - 0.05), (x + 0.05, y + 0.05, z + 0.05)))
    count = 0
    corners = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    sides = [(5, 7, 8, 6), (2, 4, 3, 1), (4, 8, 7, 3), (1, 5, 6, 2), (6, 8, 4, 2), (1, 3, 7, 5)]
    faces = []
    for material, low, high in boxes:
        for corner in corners:
            point = [(low, high)[pick][axis] for axis, pick in enumerate(corner)]
            lines.append("v " + " ".join(f"{value:g}" for value in point))
        faces.append(f"usemtl {material}")
        for normal, side in enumerate(sides, 1):
            # The vertices of each side in order, seen from outside.
            faces.append("f " + " ".join(f"{count + vertex}/{uv}/{normal}" for uv, vertex in enumerate(side, 1)))
        count += 8
    (folder / "crate.obj").write_text("\n".join(lines + faces) + "\n")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: make_examples.py FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps = FPS
    bpy.context.scene.frame_start, bpy.context.scene.frame_end = 1, WAVE_FRAMES
    texture = folder / "person.png"
    texture.write_bytes(figure_texture())
    body = build_body()
    person = make_mesh(body, texture)
    armature = make_armature(person)
    make_clip(armature, "Walk", WALK_FRAMES, walk_pose)
    make_clip(armature, "Wave", WAVE_FRAMES, wave_pose)
    export_figure(folder, armature)
    texture.unlink()
    write_walk(folder / "walk.bvh")
    write_crate(folder / "crate")


if __name__ == "__main__":
    main()
