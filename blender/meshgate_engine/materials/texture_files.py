"""The files of textures: finds them within the model by name, and tells which are missing."""

import filecmp
import os
import re
from collections import defaultdict
from itertools import takewhile
from pathlib import Path
from urllib.parse import unquote

import bpy

from ..job import Job


def relink(job: Job) -> list[str]:
    """Finds the files of images within the model by name; returns the names of missing ones.

    Models have paths of the machine that wrote them (``C:\\art\\tex.png``), percent-encoded or in another case. Of
    several files with one name it takes the one that shares the longest path suffix.
    """
    lost = [image for image in bpy.data.images if is_missing(image)]
    files = _files(Path(job.input)) if lost else {}
    names = []
    for image in lost:
        if image.source == "TILED":
            names += [base_name(tile_path(image.filepath_raw, tile.number)) for tile in image.tiles]
            continue
        path = image.filepath_raw or image.name
        name = base_name(path)
        found = _best_matches(path, files) or _best_matches(unquote(path), files)
        if not found or not _load(image, found[0]):
            names.append(name)
        elif any(not filecmp.cmp(found[0], other, shallow=False) for other in found[1:]):
            # The same words as in ``src/intake/references/scan.rs``, which may see it first.
            job.warn(f"several files may be the texture {name}; it may be the wrong one")
    return sorted(set(names))


def _best_matches(path: str, files: dict[str, list[Path]]) -> list[Path]:
    """The files that share the longest path suffix with the path."""
    found = files.get(base_name(path).casefold(), [])
    wanted = re.split(r"[/\\]", path.casefold())[::-1]

    def agreeing(file: Path) -> int:
        pairs = zip((part.casefold() for part in file.parts[::-1]), wanted, strict=False)
        return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))

    longest = max(map(agreeing, found), default=0)
    return [file for file in found if agreeing(file) == longest]


def missing() -> list[str]:
    """The names of textures whose files are missing."""
    return sorted({base_name(image.filepath_raw or image.name) for image in bpy.data.images if is_missing(image)})


def base_name(path: str) -> str:
    r"""The last part of a path of any operating system.

    >>> base_name(r"C:\art\tex.png"), base_name("//textures/a.png")
    ('tex.png', 'a.png')
    """
    # pathlib would take Blender's // for the name of a server.
    return re.sub(r"^[A-Za-z]:", "", re.split(r"[/\\]", path)[-1]) or path


def name(image: bpy.types.Image) -> str:
    """The name of a texture: that of its file, or of the image without one."""
    return base_name(image.filepath_raw) or image.name


def _files(main: Path) -> dict[str, list[Path]]:
    """All files of the model by lower-case name, those nearest to its main file first."""
    found = defaultdict(list)
    for parent, _folders, names in os.walk(main.parts[0]):
        for name in names:
            found[name.casefold()].append(Path(parent, name))
    for files in found.values():
        files.sort(key=lambda file: (len(Path(os.path.relpath(file, main.parent)).parts), file))
    return found


def is_missing(image: bpy.types.Image) -> bool:
    """Whether an image has a file, or files, and none of them is in the conversion's folder."""
    without_file = image.source in {"GENERATED", "VIEWER"} or image.type in {"RENDER_RESULT", "COMPOSITING"}
    if without_file or image.packed_file:
        # An importer's placeholder for a missing file is generated, and has the file's path.
        return image.source == "GENERATED" and bool(image.filepath_raw) and not image.packed_file
    if image.source == "TILED":
        return not any(is_within(tile_path(image.filepath_raw, tile.number)) for tile in image.tiles)
    return not is_within(image.filepath_raw)


def tile_path(pattern: str, number: int) -> str:
    """The file of a tile: tiles are numbered from 1001, ten in a row, or named by column and row."""
    row, column = divmod(number - 1001, 10)
    return pattern.replace("<UDIM>", str(number)).replace("<UVTILE>", f"u{column + 1}_v{row + 1}")


def is_within(path: str) -> bool:
    """Whether a path of Blender's leads to a file in the conversion's folder; other files are not the model's."""
    return is_inside(path) and os.path.isfile(os.path.realpath(bpy.path.abspath(path)))


def is_inside(path: str) -> bool:
    """Whether a path of Blender's leads into the conversion's folder, to a file that exists or not."""
    real = os.path.realpath(bpy.path.abspath(path))
    return real.startswith(os.path.realpath(os.getcwd()) + os.sep)


def copy_settings(made: bpy.types.Image, image: bpy.types.Image) -> None:
    """Copies colour space and alpha mode to an image."""
    # The colour space has no name until the pixels are read.
    if image.colorspace_settings.name:
        made.colorspace_settings.name = image.colorspace_settings.name
    made.alpha_mode = image.alpha_mode


def _load(image: bpy.types.Image, file: Path) -> bool:
    # A new image, since an importer's placeholder cannot become a real one.
    try:
        found = bpy.data.images.load(str(file.absolute()))
    except RuntimeError:
        return False
    if found.size[0] == 0:
        bpy.data.images.remove(found)
        return False
    name = image.name
    copy_settings(found, image)
    image.user_remap(found)
    bpy.data.images.remove(image)
    found.name = name
    return True
