"""Reports lost textures, by name."""

import re
from pathlib import Path

from ..formats import glb_container
from ..job import Job
from ..materials import image_encoding, texture_files, texture_usage


def names_in_scene() -> list[str]:
    """The names of the scene's textures."""
    return sorted(map(texture_files.name, texture_usage.scene_images()))


def report_lost(job: Job, before: list[str], after: list[str], parts: dict[str, str]) -> None:
    """Reports textures that are not in the result; nothing if names do not match because the exporter changed them.

    ``parts`` maps the name of a texture made for the export to the name of the texture that it is a channel of.
    """
    of = {_plain(part): _plain(whole) for part, whole in parts.items()}
    after = list(map(_plain, after))
    left = [name for name in after if name not in of]
    left += {of[name] for name in after if name in of} - set(left)
    gone = [name for name in before if _plain(name) not in left]
    if len(gone) == len(before) - len(left):
        job.lose("textures", len(gone), "names", total=len(before) if left else 0, names=tuple(gone))


def names_in_result(job: Job) -> list[str]:
    """The names of the textures in a result that is not read back."""
    if job.output_format == "obj":
        libraries = Path(job.output).parent.glob("*.mtl")
        lines = [line for library in libraries for line in library.read_text("utf-8", "replace").splitlines()]
        # There may be options before the name, and spaces in it: map_Bump -bm 1.0 my bump.png
        found = (re.match(r"\s*map_\w+\s+(?:-[a-z]+(?:\s+-?[\d.]+)*\s+)*(.+)", line) for line in lines)
        return sorted({texture_files.base_name(line[1].strip()) for line in found if line})
    document, _buffer = glb_container.load(Path(job.output))
    return [image.get("name", "") for image in document.get("images", [])]


def _plain(name: str) -> str:
    stem, _, extension = name.rpartition(".")
    return stem if stem and extension.lower() in image_encoding.EXTENSIONS else name
