"""Writes Biovision motion files: y up, facing +z."""

from pathlib import Path

import bpy
import numpy as np
from mathutils import Euler, Matrix

from ..animation import clip_export, clip_playback, clips, sample_limit
from ..blender_api import scene
from ..errors import ConversionError
from ..humanoid import bone_mapping
from ..job import Job

_Y_UP = np.array(((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)))

_ORDERS = {"XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"}


def write(job: Job) -> None:
    """Writes the skeleton with one clip: y up, facing +z."""
    found = clips.find()
    item = _moving_armature(found)
    clip = clip_export.choose_one(job, item, found)
    sample_limit.check_clips([clip])
    clip_playback.activate(clip)
    scene.unlink_meshes()
    text = _file(item, round(clip.start), round(clip.end), job.source_unit, keep_orders=job.input_format == "bvh")
    try:
        Path(job.output).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConversionError("export_failed", "the bvh file could not be written") from error


def _moving_armature(found: list[clips.Clip]) -> bpy.types.Object:
    moving = [item for item in scene.armatures() if any(clip.slots_of(item) for clip in found)]
    if not scene.armatures():
        raise ConversionError("no_animation", "the model has no skeleton")
    if not moving:
        raise ConversionError("no_animation", "the model has no animation")
    best = bone_mapping.armature()
    return best if best in moving else max(moving, key=lambda item: len(item.data.bones))


def _file(item: bpy.types.Object, start: int, end: int, unit: float, keep_orders: bool) -> str:
    # Blender lists them depth first.
    bones = list(item.data.bones)
    index = {bone.name: number for number, bone in enumerate(bones)}
    parents = [index[bone.parent.name] if bone.parent else -1 for bone in bones]
    orders = [_order(item.pose.bones[bone.name].rotation_mode if keep_orders else "") for bone in bones]

    bpy.context.scene.frame_set(start)
    rest, rest_turns = _world(item, [bone.matrix_local for bone in bones], unit)
    tails = [_Y_UP @ np.array(item.matrix_world @ bone.tail_local) / unit for bone in bones]
    places, turns = [], []
    for frame in range(start, end + 1):
        bpy.context.scene.frame_set(frame)
        place, turn = _world(item, [item.pose.bones[bone.name].matrix for bone in bones], unit)
        places.append(place)
        turns.append(turn @ rest_turns.transpose(0, 2, 1))
    place, turn = np.array(places), np.array(turns)

    above = np.array(parents)
    is_root = above < 0
    parent_turn = np.where(is_root[None, :, None, None], np.eye(3), turn[:, above])
    parent_place = np.where(is_root[None, :, None], 0.0, place[:, above])
    local_turn = parent_turn.transpose(0, 1, 3, 2) @ turn
    local_place = (parent_turn.transpose(0, 1, 3, 2) @ (place - parent_place)[..., None])[..., 0]
    offsets = np.where(is_root[:, None], rest, rest - rest[above])
    size = max(float(np.ptp(rest, axis=0).max()), 1e-6)
    moves = is_root | (np.abs(local_place - offsets).max(axis=(0, 2)) > 1e-4 * size)

    lines = ["HIERARCHY"]

    def add_joint(number: int, depth: int, kind: str) -> None:
        tabs = "\t" * depth
        turning = " ".join(f"{axis}rotation" for axis in orders[number])
        moving = "6 Xposition Yposition Zposition" if moves[number] else "3"
        lines.extend((f"{tabs}{kind} {_word(bones[number].name)}", f"{tabs}{{"))
        lines.append(f"{tabs}\tOFFSET {_numbers(offsets[number])}")
        lines.append(f"{tabs}\tCHANNELS {moving} {turning}")
        children = [child for child, parent in enumerate(parents) if parent == number]
        for child in children:
            add_joint(child, depth + 1, "JOINT")
        if not children:
            tip = _numbers(tails[number] - rest[number])
            lines.extend((f"{tabs}\tEnd Site", f"{tabs}\t{{", f"{tabs}\t\tOFFSET {tip}", f"{tabs}\t}}"))
        lines.append(f"{tabs}}}")

    several = int(is_root.sum()) > 1
    if several:
        lines += [f"ROOT {_word(item.name)}", "{", "\tOFFSET 0.0 0.0 0.0"]
        lines.append("\tCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation")
    for root in np.flatnonzero(is_root):
        add_joint(int(root), int(several), "JOINT" if several else "ROOT")
    if several:
        lines.append("}")

    render = bpy.context.scene.render
    lines += ["MOTION", f"Frames: {len(places)}", f"Frame Time: {render.fps_base / render.fps:.7g}"]
    before = [Euler((0.0, 0.0, 0.0), order[::-1]) for order in orders]
    for frame in range(len(places)):
        values = ["0 0 0 0 0 0"] if several else []
        for number, order in enumerate(orders):
            if moves[number]:
                values += [f"{value:.6f}" for value in local_place[frame, number]]
            # Of the equivalent angles, those nearest to the frame before, so that curves have no jumps.
            before[number] = Matrix(local_turn[frame, number]).to_euler(order[::-1], before[number])
            values += [f"{np.degrees(before[number]['XYZ'.index(axis)]):.6f}" for axis in order]
        lines.append(" ".join(values))
    return "\n".join(lines) + "\n"


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.6f}" for value in values)


def _world(item: bpy.types.Object, matrices: list[Matrix], unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, 3) and rotations (n, 3, 3) of bones in the world, y up, in units of the file."""
    world = [item.matrix_world @ matrix for matrix in matrices]
    places = np.array([matrix.translation for matrix in world]) @ _Y_UP.T / unit
    turns = np.array([matrix.to_quaternion().to_matrix() for matrix in world])
    return places, _Y_UP @ turns


def _order(mode: str) -> str:
    return mode if mode in _ORDERS else "ZXY"


def _word(name: str) -> str:
    """The name of a joint, without spaces."""
    return "_".join(name.split()) or "_"
