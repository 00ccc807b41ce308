"""Stanford PLY: one mesh, or points, with colours."""

import mmap
import re
from pathlib import Path

import bpy

from ..blender_api.operators import exporting, importing
from ..errors import ConversionError
from ..job import Job
from . import line_length

# The importer's buffer, in bytes: a longer line aborts Blender.
_LONGEST_LINE = 64 << 10


def read(job: Job) -> str:
    path = Path(job.input)
    line_length.check(path, _LONGEST_LINE, _end_of_text(path))
    try:
        return importing(job, bpy.ops.wm.ply_import, import_colors="SRGB")
    except ConversionError as error:
        head, _, _ = path.read_bytes().partition(b"end_header")
        if re.search(rb"^element\s+vertex\s+0+\s*$", head, re.MULTILINE):
            raise ConversionError("empty_model", "the model has no vertices") from error
        raise


def _end_of_text(path: Path) -> int | None:
    """The end of the text: that of the header in a binary file; None in a text file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        header = re.search(rb"^end_header\s", content, re.MULTILINE)
        end = header.end() if header else len(content)
        text = re.compile(rb"^format[ \t]+ascii\b", re.MULTILINE).search(content, 0, end)
    return None if text else end


def write(job: Job) -> None:
    """Exports the scene as binary PLY."""
    exporting(
        job,
        bpy.ops.wm.ply_export,
        ascii_format=False,
        export_uv=True,
        export_normals=True,
        export_colors="SRGB",
        # With other attributes, the exporter of Blender 5.0 overruns its buffers when vertex groups of meshes differ.
        export_attributes=False,
        export_triangulated_mesh=job.triangulate,
    )
