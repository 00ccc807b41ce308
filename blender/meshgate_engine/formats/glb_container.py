"""The container of glb, vrm and vrma files: JSON and one buffer."""

import json
import os
import shutil
import struct
from pathlib import Path

_HEADER, _CHUNK = struct.Struct("<4sII"), struct.Struct("<I4s")


def document(path: Path) -> dict:
    """The JSON of a gltf or glb file, read without the buffer; empty when it is damaged, which the importer reports."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER.size + _CHUNK.size)
            is_glb = len(head) == _HEADER.size + _CHUNK.size and head[:4] == b"glTF"
            if is_glb and _HEADER.unpack_from(head)[1] == 1:
                return {"asset": {"version": "1.0"}}
            text = file.read(_CHUNK.unpack_from(head, _HEADER.size)[0]) if is_glb else head + file.read()
        found = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def load(path: Path) -> tuple[dict, bytes]:
    """The JSON and the buffer of a file. Raises ValueError when it is no glb."""
    content = path.read_bytes()
    if len(content) < _HEADER.size + _CHUNK.size or content[:4] != b"glTF":
        raise ValueError("not a glb")
    # The first chunk of each kind that is not empty.
    chunks = {b"JSON": b"", b"BIN\0": b""}
    at = _HEADER.size
    while at + _CHUNK.size <= len(content):
        length, kind = _CHUNK.unpack_from(content, at)
        at += _CHUNK.size + length
        if chunks.get(kind) == b"":
            chunks[kind] = content[at - length : at]
    document = json.loads(chunks[b"JSON"] or b"null")
    if not isinstance(document, dict):
        raise ValueError("no JSON in the glb")
    return document, chunks[b"BIN\0"]


def _json_chunk(document: dict) -> bytes:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    return _CHUNK.pack(len(text), b"JSON") + text


def save(path: Path, document: dict, buffer: bytes) -> None:
    """Writes a glb of the JSON and the buffer."""
    buffer += b"\0" * (-len(buffer) % 4)
    chunks = _json_chunk(document)
    if buffer:
        chunks += _CHUNK.pack(len(buffer), b"BIN\0") + buffer
    path.write_bytes(_HEADER.pack(b"glTF", 2, _HEADER.size + len(chunks)) + chunks)


def buffer_place(path: Path) -> tuple[int, int]:
    """The offset of the buffer in a glb, and its length."""
    with path.open("rb") as file:
        length, _kind = _CHUNK.unpack_from(file.read(_HEADER.size + _CHUNK.size), _HEADER.size)
        file.seek(length, os.SEEK_CUR)
        length, _kind = _CHUNK.unpack(file.read(_CHUNK.size))
        return file.tell(), length


def extend(path: Path, document: dict, more: bytes) -> None:
    """Replaces the JSON of a file and appends ``more`` to its buffer, without reading the buffer into memory."""
    chunk = _json_chunk(document)
    start, length = buffer_place(path)
    new = path.with_name(path.name + ".new")
    with path.open("rb") as old, new.open("wb") as file:
        size = _HEADER.size + len(chunk) + _CHUNK.size + length + len(more)
        file.write(_HEADER.pack(b"glTF", 2, size) + chunk)
        file.write(_CHUNK.pack(length + len(more), b"BIN\0"))
        old.seek(start)
        shutil.copyfileobj(old, file)
        file.write(more)
    new.replace(path)
