"""Calls Blender's operators, and turns their failures into one sentence.

Operators fail in three ways: they raise RuntimeError with their reports, they let an exception of the add-on through
as a RuntimeError with its traceback, or they return ``CANCELLED`` and say why on standard output, if at all.
"""

import mmap
import os
import re
from collections.abc import Callable
from pathlib import Path

import bpy

from ..errors import ConversionError
from ..job import Job

_LONGEST_MESSAGE = 200  # characters; longer ones are cut

# Messages of add-ons that help a user, and our words for them.
_KNOWN_MESSAGES = (
    (r"glTF version must be 2\.0|Only glTF", "it is glTF 1.0; only 2.0 can be read"),
    (r"Extension (\w{1,80}) is not available on this addon", "it needs the extension {0}, which cannot be read"),
    (r"primitive mode unimplemented", "it has primitives of a kind that does not exist"),
    (r"FBX in-between Shapes are not currently supported", "it has in-between blend shapes, which cannot be read"),
)


def importing(job: Job, operator: Callable[..., set[str]], **parameters: object) -> str:
    """Runs an importer on ``job.input``, and returns its name (``wm.fbx_import``). Raises ``import_failed``."""
    _run("import_failed", f"not a readable {job.input_format} file", operator, job.input, parameters)
    return operator.idname_py()


def exporting(job: Job, operator: Callable[..., set[str]], **parameters: object) -> None:
    """Runs an exporter to ``job.output``. Raises ``export_failed``, also when there is no file afterwards."""
    reason = f"the {job.output_format} file could not be written"
    _run("export_failed", reason, operator, job.output, parameters)
    written = Path(job.output)
    if not written.is_file() or written.stat().st_size == 0:
        raise ConversionError("export_failed", reason)
    if bpy.data.filepath:
        _erase_folder(written)


def _erase_folder(written: Path) -> None:
    """Overwrites the path of the conversion's folder: FBX and Alembic contain the path of the .blend in the scene.

    It writes as many slashes as the path has bytes, since these formats store lengths.
    """
    folder = os.fsencode(os.getcwd())
    with written.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        place = content.find(folder)
        while place >= 0:
            content[place : place + len(folder)] = b"/" * len(folder)
            place = content.find(folder, place + len(folder))


def _run(code: str, failure: str, operator: Callable[..., set[str]], path: str, parameters: dict[str, object]) -> None:
    try:
        # Some operators resolve relative paths against the .blend, and there may be none.
        result = operator(filepath=str(Path(path).absolute()), **parameters)
    except MemoryError:
        raise
    except Exception as error:
        if "MemoryError" in str(error):
            raise MemoryError from error
        reason = sentence(str(error))
        raise ConversionError(code, f"{failure}: {reason}" if reason else failure) from error
    if "FINISHED" not in result:
        raise ConversionError(code, failure)


def sentence(text: str) -> str:
    """An operator's error without paths, tracebacks and names of Python's classes; empty when nothing is left.

    >>> sentence("Error: Please select only one glTF file.\\n")
    'please select only one glTF file'
    """
    text = text.strip()
    for pattern, words in _KNOWN_MESSAGES:
        if found := re.search(pattern, text):
            return words.format(*found.groups())
    if "Traceback" in text or "Location: " in text:
        # A traceback is for programmers.
        return ""
    line = re.sub(r"^(?:Error|Warning): *", "", text.splitlines()[0].strip() if text else "")
    line = re.sub(r"^(?:\w+ )?(?:[A-Z]+ )?(?:Import|Importer|Export): *", "", line)
    if re.search(r"[/\\]|Failed to load|Cannot import file|Unable to open|\bpoll\(\)|\bobject at 0x", line):
        # A message with a path says only that the file could not be read.
        return ""
    line = line.rstrip(" .:")[:_LONGEST_MESSAGE]
    # Proper names and abbreviations keep their capitals.
    return line[:1].lower() + line[1:] if line[1:2].islower() else line
