"""Faces on the same vertices are all kept, and invalid faces are read safely."""

import math
import struct
from pathlib import Path

import bpy
import pytest
from helpers import convert, in_child

VERTICES = "".join(
    f"v {x} {y} {z} {x} {y} 0.5\n" for x, y, z in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (2, 0, 1))
)
NORMALS = "vn 0 0.6 0.8\nvn 0 -0.6 -0.8\n"
UVS = "vt 0 0\nvt 1 0\nvt 0 1\n"


def _obj(folder: Path, text: str) -> Path:
    path = folder / "model.obj"
    path.write_text(VERTICES + NORMALS + UVS + text)
    return path


def _read(path: str) -> tuple:
    """The vertices, colours and normals of each imported face."""
    from meshgate_engine import formats
    from meshgate_engine.job import Job

    formats.module("obj").read(Job(path, "obj", "", ""))
    (mesh,) = bpy.data.meshes
    assert not mesh.validate()
    layer = mesh.color_attributes[0].data if mesh.color_attributes else None
    faces = []
    for face in mesh.polygons:
        corners = [mesh.loops[index].vertex_index for index in face.loop_indices]
        places = [tuple(round(value, 3) for value in mesh.vertices[corner].co) for corner in corners]
        colours = [round(layer[corner].color[0], 2) for corner in corners] if layer else None
        normals = [tuple(round(value, 2) for value in mesh.corner_normals[i].vector) for i in face.loop_indices]
        uvs = [tuple(mesh.uv_layers[0].uv[i].vector) for i in face.loop_indices] if mesh.uv_layers else None
        faces.append((places, colours, normals, uvs))
    return faces, len(mesh.vertices)


BACK_TO_BACK = "f 1/1/1 2/2/1 3/3/1\nf 3/3/2 2/2/2 1/1/2\nf 2/1/1 4/2/1 3/3/1\n"


@pytest.mark.parametrize("target", ["glb", "obj", "fbx", "usdz", "abc", "ply"])
def test_back_to_back_faces_are_kept(tmp_path, target):
    report = convert(tmp_path / "c", _obj(tmp_path, BACK_TO_BACK), target)
    assert report["input"]["triangles"] == 3
    assert report["output"]["triangles"] == 3


FACET = "facet normal 0 0 1\nouter loop\n{}endloop\nendfacet\n"


@pytest.mark.parametrize("text", [True, False])
def test_skipped_stl_triangles_are_reported(tmp_path, text):
    corners = [(0, 0, 0), (1, 0, 0), (0, 1, 0)]
    sides = [corners, corners[::-1], [(2, 0, 0), (3, 0, 0), (2, 1, 0)]]
    path = tmp_path / "model.stl"
    if text:
        facets = (FACET.format("".join(f"vertex {x} {y} {z}\n" for x, y, z in side)) for side in sides)
        path.write_text(f"solid\n{''.join(facets)}endsolid\n")
    else:
        facets = (struct.pack("<12fH", 0, 0, 1, *sum(side, ()), 0) for side in sides)
        path.write_bytes(bytes(80) + struct.pack("<I", 3) + b"".join(facets))
    report = convert(tmp_path / "c", path, "glb")
    assert report["input"]["triangles"] == report["output"]["triangles"] == 2
    assert report["warnings"] == ["1 of 3 triangles were skipped: zero area or duplicate"]


def test_back_to_back_faces_keep_their_colours_and_normals(tmp_path):
    faces, vertices = in_child(_read, str(_obj(tmp_path, BACK_TO_BACK)))
    assert vertices == 7
    front, back, other = faces
    assert front[0] == list(reversed(back[0]))
    assert front[1] == list(reversed(back[1]))
    assert front[3] == list(reversed(back[3]))
    assert set(front[2]) == set(other[2]) == {(0.0, 0.6, 0.8)}
    assert set(back[2]) == {(0.0, -0.6, -0.8)}


def test_other_faces_share_their_vertices(tmp_path):
    faces, vertices = in_child(_read, str(_obj(tmp_path, "f 1 2 3\nf 2 4 3\nf 1 2 5 3\n")))
    assert (len(faces), vertices) == (3, 5)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("f 1 2 3\nf 1 2 3\nf 3 1 2\n", 3),
        ("f 1 2 3\nf 1 1 2\nf 4 4 4\n", 1),
        ("f 1 2 3\nf 1 2 9\nf -9 1 2\n", 1),
        ("l 1 1\nl 1 2\nf 1 2 3\nf 3 2 1\n", 2),
        ("v nan inf 0\nf 1 2 6\nf 6 2 1\n", 2),
    ],
)
def test_invalid_faces_are_read_safely(tmp_path, text, count):
    faces, _vertices = in_child(_read, str(_obj(tmp_path, text)))
    assert len(faces) == count
    assert all(math.isfinite(value) for places, *_ in faces for place in places for value in place)
