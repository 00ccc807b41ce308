"""BVH files that the tests write and read."""

import math
import re
from pathlib import Path

HEAD = """HIERARCHY
ROOT Hips
{{
\tOFFSET 0 {hips} 0
\tCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
\tJOINT Spine
\t{{
\t\tOFFSET 0 {spine} 0
\t\tCHANNELS 3 Zrotation Xrotation Yrotation
\t\tEnd Site
\t\t{{
\t\t\tOFFSET 0 {spine} {nose}
\t\t}}
\t}}
}}
"""


def write_bvh(
    folder: Path, frames: int = 300, frame_time: str = "0.0083333", unit: float = 100, head: str = ""
) -> Path:
    """A skeleton 1.8 m tall that walks towards +z and turns its spine."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [HEAD.format(hips=0.9 * unit, spine=0.45 * unit, nose=0.1 * unit) + "MOTION"]
    lines += [head or f"Frames: {frames}", f"Frame Time: {frame_time}"]
    for frame in range(frames):
        lines.append(f"0 {0.9 * unit} {frame * 0.01 * unit} 0 0 {frame % 90} {20 * math.sin(frame / 9):.4f} 5 30")
    path = folder / "take.bvh"
    path.write_text("\n".join(lines) + "\n")
    return path


def parts(path: Path) -> tuple[list[list[float]], float, list[list[float]]]:
    """The offsets, the frame time and the rows of a file."""
    text = path.read_text()
    offsets = [[float(word) for word in line.split()[1:]] for line in text.splitlines() if "OFFSET" in line]
    seconds = float(re.search(r"Frame Time: (\S+)", text).group(1))
    rows = [[float(word) for word in line.split()] for line in text.partition("Frame Time")[2].splitlines()[1:]]
    assert int(re.search(r"Frames: (\d+)", text).group(1)) == len(rows)
    return offsets, seconds, rows


def flat(rows):
    return [value for row in rows for value in row]
