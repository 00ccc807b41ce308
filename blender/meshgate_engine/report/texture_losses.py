"""Reports lost textures, by name."""

from pathlib import Path

from .. import formats
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
    return formats.module(job.output_format).texture_names(Path(job.output))


def _plain(name: str) -> str:
    stem, _, extension = name.rpartition(".")
    return stem if stem and extension.lower() in image_encoding.EXTENSIONS else name
