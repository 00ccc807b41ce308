"""Renders a glb in one of its clips, for the README: render_preview.py IN.glb CLIP FRAME OUT.jpg"""

import math
import sys

import bpy
from mathutils import Vector


def main(model: str, clip: str, frame: str, picture: str) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=model, disable_bone_shape=True)
    scene = bpy.context.scene
    for item in scene.objects:
        if item.type == "ARMATURE":
            data = item.animation_data_create()
            for track in data.nla_tracks:
                track.mute = True
            data.action = bpy.data.actions[clip]
            data.action_slot = data.action.slots[0]
    scene.frame_set(int(frame))

    bpy.ops.mesh.primitive_plane_add(size=20)
    bpy.ops.object.light_add(type="SUN", rotation=(math.radians(50), 0, math.radians(35)))
    bpy.context.object.data.energy = 3.0
    bpy.context.object.data.angle = math.radians(6)
    world = bpy.data.worlds.new("Sky")
    scene.world = world
    world.node_tree.nodes["Background"].inputs[0].default_value = (0.75, 0.85, 1.0, 1.0)
    bpy.ops.object.camera_add(location=(1.6, -4.2, 1.5))
    camera = bpy.context.object
    camera.rotation_euler = (Vector((0, 0, 0.92)) - camera.location).to_track_quat("-Z", "Y").to_euler()
    camera.data.lens = 60
    scene.camera = camera
    scene.render.engine = "CYCLES"
    scene.cycles.samples = 48
    scene.render.resolution_x, scene.render.resolution_y = 480, 480
    scene.render.image_settings.file_format = "JPEG"
    scene.render.filepath = picture
    bpy.ops.render.render(write_still=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
