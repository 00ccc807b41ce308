"""Reads Biovision motion files with every frame and their frame time."""

import re
from pathlib import Path

import bpy
import numpy as np

from ..blender_api.operators import importing
from ..errors import ConversionError
from ..job import Job

# Taller skeletons are in centimetres.
_TALLEST = 20.0


def read(job: Job) -> str:
    """Imports the file with every frame and its frame time."""
    text = _text(Path(job.input))
    if not text.lstrip().upper().startswith("HIERARCHY"):
        raise ConversionError("import_failed", "not a readable bvh file: it does not begin with HIERARCHY")
    hierarchy, _, motion = text.partition("MOTION")
    head = re.match(r"\s*Frames:\s*(\d+)\s+Frame\s+Time:\s*([-+.\deE]+)[ \t]*\n?", motion, re.IGNORECASE)
    rows = [line for line in motion[head.end() :].splitlines() if line.strip()] if head else []
    if len(rows) > 1 and _is_cut(rows[-1], rows[-2]):
        # The importer would refuse the whole file.
        rows.pop()
        job.warn("the last frame of the file is cut off in the middle and was left out")
        whole = hierarchy + "MOTION" + motion[: head.end()].rstrip() + "\n" + "\n".join(rows) + "\n"
        Path(job.input).write_bytes(whole.encode())
    if not rows:
        raise ConversionError("no_animation", "the model has no animation")
    if len(rows) != int(head.group(1)):
        job.warn(f"the file announces {head.group(1)} frames and holds {len(rows)}")
    _set_frame_time(job, head.group(2))
    if _height(hierarchy) > _TALLEST:
        job.source_unit = 0.01
        job.warn("a bvh file has no unit: it was taken as centimetres")
    importing(
        job, bpy.ops.import_anim.bvh, axis_forward="-Z", axis_up="Y", global_scale=job.source_unit, rotate_mode="NATIVE"
    )
    return "import_anim.bvh"


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


def _is_cut(last: str, before: str) -> bool:
    """Whether the last frame has fewer values than the one before it."""
    return len(last.split()) < len(before.split())


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
