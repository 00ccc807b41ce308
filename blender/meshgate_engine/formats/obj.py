"""Wavefront OBJ, with its materials and textures in files beside it."""

import re
from pathlib import Path

import bpy

from ..blender_api.operators import exporting, importing
from ..geometry import coincident_faces
from ..job import Job
from ..materials import texture_files
from . import line_length

# The importer's buffer, in bytes: it leaves out everything after a longer line.
_LONGEST_LINE = 256 << 10
# White space except spaces, control characters, and a backslash at the end.
_NOT_IN_NAMES = re.compile(r"[^\S ]|[\x00-\x1f\x7f]|\\$")
# There may be options before the name, and spaces in it: map_Bump -bm 1.0 my bump.png
_TEXTURE = re.compile(r"\s*map_\w+\s+(?:-[a-z]+(?:\s+-?[\d.]+)*\s+)*(.+)")
_COLOURS = {"Base Color": "Kd", "Emission Color": "Ke"}


def read(job: Job) -> str:
    line_length.check(Path(job.input), _LONGEST_LINE)
    # The importer's validation removes faces that share all vertices.
    importer = importing(job, bpy.ops.wm.obj_import, validate_meshes=False)
    coincident_faces.separate()
    return importer


def write(job: Job) -> None:
    """Exports the scene; packaging ``single`` leaves out the materials, which are a second file."""
    _replace_unsafe_characters(job)
    exporting(
        job,
        bpy.ops.wm.obj_export,
        export_materials=job.packaging != "single",
        export_pbr_extensions=True,
        export_colors=True,
        export_triangulated_mesh=job.triangulate,
        path_mode="COPY",
    )
    library = Path(job.output).with_suffix(".mtl")
    if job.tints and library.is_file():
        _add_tints(job, library)


def texture_names(path: Path) -> list[str]:
    """The names of the textures that the material libraries beside a result refer to."""
    lines = [
        line for library in path.parent.glob("*.mtl") for line in library.read_text("utf-8", "replace").splitlines()
    ]
    found = map(_TEXTURE.match, lines)
    return sorted({texture_files.base_name(line[1].strip()) for line in found if line})


def _replace_unsafe_characters(job: Job) -> None:
    """Replaces characters in names that would end the line or continue it.

    The exporter replaces only spaces, so that a name in the model could add statements to the result.
    """
    for item in [*bpy.data.objects, *bpy.data.meshes, *bpy.data.materials]:
        before = item.name
        if _NOT_IN_NAMES.search(before):
            item.name = _NOT_IN_NAMES.sub("_", before)
            if isinstance(item, bpy.types.Material):
                tints = job.tints.items()
                job.tints = {(item.name if name == before else name, socket): tint for (name, socket), tint in tints}


def _add_tints(job: Job, library: Path) -> None:
    """Adds the colours that tint textures, which the exporter does not write beside a texture."""
    lines = []
    for line in library.read_text("utf-8", "surrogateescape").splitlines():
        lines.append(line)
        for (material, socket), colour in job.tints.items():
            if line == f"newmtl {material.replace(' ', '_')}":
                lines.append(f"{_COLOURS[socket]} {' '.join(f'{value:.6f}' for value in colour)}")
    library.write_text("\n".join(lines) + "\n", "utf-8", "surrogateescape")
