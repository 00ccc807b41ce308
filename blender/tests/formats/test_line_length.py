"""Lines longer than the buffers of Blender's importers are refused; lines that just fit are read."""

import struct
import time

import pytest
from helpers import convert
from meshgate_engine.errors import ConversionError
from meshgate_engine.formats import line_length

HEADER = """ply
format {encoding} 1.0
comment {comment}
element vertex 3
property float x
property float y
property float z
element face 1
property list uchar int vertex_indices
end_header
"""
TEXT = b"0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
BINARY = struct.pack("<9fB3i", 0, 0, 0, 1, 0, 0, 0, 1, 0, 3, 0, 1, 2)
LONG_FOR_PLY, LONG_FOR_OBJ = 64 << 10, 256 << 10


def ply(encoding: str, comment: int, before: int = 0) -> bytes:
    header = HEADER.format(encoding=encoding, comment="x" * comment).encode()
    return header + (b" " * before + TEXT if encoding == "ascii" else BINARY)


def obj(comment: int) -> bytes:
    return b"v 0 0 0\nv 1 0 0\nv 0 1 0\n#" + b"x" * (comment - 2) + b"\nf 1 2 3\n"


TOO_LONG = {
    "a comment.ply": ply("ascii", LONG_FOR_PLY),
    "a binary file's comment.ply": ply("binary_little_endian", LONG_FOR_PLY),
    "a vertex.ply": ply("ascii", 1, LONG_FOR_PLY),
    "no header's end.ply": b"ply\nformat ascii 1.0\n" + b"comment\n" * 20000 + b"x" * LONG_FOR_PLY + b"y",
    "a comment.obj": obj(LONG_FOR_OBJ + 1),
    "no line end.obj": b"v 0 0 0\n#" + b"x" * LONG_FOR_OBJ,
}
SHORT_ENOUGH = {
    "a comment.ply": ply("ascii", LONG_FOR_PLY - len("comment \n") - 1),
    "a binary file's comment.ply": ply("binary_little_endian", LONG_FOR_PLY - len("comment \n") - 1),
    "a vertex.ply": ply("ascii", 1, LONG_FOR_PLY - len("0 0 0\n")),
    "a comment.obj": obj(LONG_FOR_OBJ),
}


@pytest.mark.parametrize("name", TOO_LONG)
def test_a_line_that_is_too_long_is_refused(tmp_path, name):
    source = tmp_path / f"source.{name[-3:]}"
    source.write_bytes(TOO_LONG[name])
    with pytest.raises(ConversionError) as raised:
        convert(tmp_path / "c", source, "glb", read_back=False)
    assert raised.value.code == "import_failed"
    assert "KiB, which blender cannot read" in raised.value.detail


@pytest.mark.parametrize("name", SHORT_ENOUGH)
def test_a_line_that_just_fits_is_read(tmp_path, name):
    source = tmp_path / f"source.{name[-3:]}"
    source.write_bytes(SHORT_ENOUGH[name])
    assert convert(tmp_path / "c", source, "glb", read_back=False)["input"]["triangles"] == 1


def test_four_million_short_lines_are_checked_quickly(tmp_path):
    source = tmp_path / "a.obj"
    source.write_bytes(b"v 0 0 0\n" * (4 << 20))
    began = time.monotonic()
    line_length.check(source, 256 << 10)
    assert time.monotonic() - began < 5
