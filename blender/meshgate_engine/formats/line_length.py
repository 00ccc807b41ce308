"""Refuses lines longer than the buffers of Blender's importers, which abort or leave out what follows."""

import mmap
from pathlib import Path

from ..errors import ConversionError


def check(path: Path, longest: int, end: int | None = None) -> None:
    """Raises ``import_failed`` when a line before ``end`` has more than ``longest`` bytes with its line end."""
    with path.open("rb") as file:
        if file.seek(0, 2) <= longest:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            end = len(content) if end is None else min(end, len(content))
            position = 0
            # The last line end within the limit is enough: all lines before it are shorter.
            while end - position > longest:
                position = content.rfind(b"\n", position, position + longest) + 1
                if position == 0:
                    detail = f"it has a line of more than {longest >> 10} KiB, which blender cannot read; break it up"
                    raise ConversionError("import_failed", detail)
