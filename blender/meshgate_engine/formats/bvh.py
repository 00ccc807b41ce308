"""Biovision motion: one skeleton with one clip.

Units. A BVH file has none. A skeleton taller than 20 is assumed to be in centimetres (motion capture), with a warning;
any other in metres. A BVH that becomes a BVH keeps its numbers; everything else is written in metres.

Frames. The file's frame time becomes the scene's, so that one frame of the file is one frame of the scene.

Blender's exporter is not used: it writes z up, ignores the armature's place, and rounds the frame time to six digits,
which is up to four minutes in an hour.
"""

import re
from pathlib import Path

import bpy
import numpy as np
from mathutils import Euler, Matrix

from ..animation import clip_export, clip_playback, clips, sample_limit
from ..blender_api import scene
from ..blender_api.operators import importing
from ..errors import ConversionError
from ..humanoid import bone_mapping
from ..job import Job

_TALLEST = 20.0  # taller skeletons are in centimetres
_Y_UP = np.array(((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)))
_ORDERS = {"XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"}


def read(job: Job) -> str:
    """Imports the file with every frame and its frame time."""
    text = _text(Path(job.input))
    if not text.lstrip().upper().startswith("HIERARCHY"):
        raise ConversionError("import_failed", "not a readable bvh file: it does not begin with HIERARCHY")
    hierarchy, _, motion = text.partition("MOTION")
    head = re.match(r"\s*Frames:\s*(\d+)\s+Frame\s+Time:\s*([-+.\deE]+)[ \t]*\n?", motion, re.IGNORECASE)
    rows = [line for line in motion[head.end() :].splitlines() if line.strip()] if head else []
    if len(rows) > 1 and len(rows[-1].split()) < len(rows[-2].split()):
        # The importer would refuse the whole file.
        rows.pop()
        job.warn("the last frame of the file is cut off in the middle and was left out")
        whole = hierarchy + "MOTION" + motion[: head.end()].rstrip() + "\n" + "\n".join(rows) + "\n"
        Path(job.input).write_bytes(whole.encode())
    if not rows:
        raise ConversionError("no_animation", "the model has no animation")
    if len(rows) != int(head[1]):
        job.warn(f"the file announces {head[1]} frames and holds {len(rows)}")
    _set_frame_time(job, head[2])
    if _height(hierarchy) > _TALLEST:
        job.source_unit = 0.01
        job.warn("a bvh file has no unit: it was taken as centimetres")
    return importing(job, bpy.ops.import_anim.bvh, global_scale=job.source_unit, rotate_mode="NATIVE")


def _text(path: Path) -> str:
    """The file's text; the file is rewritten when it is not plain UTF-8 with Unix line ends, as the importer needs."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp932", errors="replace")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.encode() != content:
        path.write_bytes(text.encode())
    return text


def _set_frame_time(job: Job, text: str) -> None:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1e-4 <= seconds <= 1e3:
        job.warn("the frame time makes no sense: 30 frames a second were assumed")
        seconds = 1 / 30
    render = bpy.context.scene.render
    render.fps = max(1, round(1 / seconds))
    render.fps_base = render.fps * seconds


def _height(hierarchy: str) -> float:
    """The largest extent of the skeleton at rest, in units of the file."""
    stack: list[np.ndarray] = []
    joint = np.zeros(3)
    points = []
    for line in hierarchy.splitlines():
        words = line.split()
        if words[:1] == ["{"]:
            stack.append(joint)
        elif words[:1] == ["}"] and stack:
            stack.pop()
        elif words and words[0].upper() == "OFFSET" and len(words) >= 4:
            try:
                offset = np.array([float(word) for word in words[1:4]])
            except ValueError:
                continue
            joint = offset + (stack[-2] if len(stack) > 1 else 0.0)
            if stack:
                stack[-1] = joint
            points.append(joint)
    return float(np.ptp(np.array(points), axis=0).max()) if points else 0.0


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
    if not moving:
        raise ConversionError("no_animation", f"the model has no {'animation' if scene.armatures() else 'skeleton'}")
    best = bone_mapping.armature()
    return best if best in moving else max(moving, key=lambda item: len(item.data.bones))


def _file(item: bpy.types.Object, start: int, end: int, unit: float, keep_orders: bool) -> str:
    # Blender lists them depth first.
    bones = list(item.data.bones)
    index = {bone.name: number for number, bone in enumerate(bones)}
    parents = [index[bone.parent.name] if bone.parent else -1 for bone in bones]
    modes = [item.pose.bones[bone.name].rotation_mode if keep_orders else "" for bone in bones]
    orders = [mode if mode in _ORDERS else "ZXY" for mode in modes]

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
        for child in [child for child, parent in enumerate(parents) if parent == number]:
            add_joint(child, depth + 1, "JOINT")
        if number not in parents:
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


def _word(name: str) -> str:
    """The name of a joint, without spaces."""
    return "_".join(name.split()) or "_"
