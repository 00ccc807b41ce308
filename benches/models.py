"""Makes the models that the benchmark converts, into the folder given.

cube.fbx (small), big.gltf + big.bin (50 MB), big.glb (100 MB), middle.glb (1 MB, and zipped), small.glb (100 kB).
"""

import json
import struct
import sys
import zipfile
from pathlib import Path

import bpy
import numpy

MB = 1 << 20


def cube(folder: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.mesh.primitive_cube_add()
    bpy.context.object.data.materials.append(bpy.data.materials.new("Grey"))
    bpy.ops.export_scene.fbx(filepath=str(folder / "cube.fbx"))


def grid(size: int) -> tuple[dict, bytes]:
    """A glTF of one wavy grid whose buffer is about `size` bytes: the document and the buffer."""
    # 24 bytes of position and normal a vertex, and six 4-byte indices a quad.
    side = int((size / 48) ** 0.5)
    x, z = numpy.meshgrid(numpy.arange(side, dtype="<f4"), numpy.arange(side, dtype="<f4"))
    positions = numpy.stack([x, numpy.sin(x / 9) * numpy.cos(z / 7), z], axis=-1).reshape(-1, 3).astype("<f4")
    normals = numpy.tile(numpy.array([0, 1, 0], "<f4"), (side * side, 1))
    corner = (numpy.arange(side - 1)[:, None] * side + numpy.arange(side - 1)).reshape(-1, 1)
    quads = numpy.array([0, side, 1, 1, side, side + 1])
    indices = (corner + quads).astype("<u4").ravel()
    parts = [positions.tobytes(), normals.tobytes(), indices.tobytes()]
    views, offset = [], 0
    for part in parts:
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(part)})
        offset += len(part)
    vertices = {"componentType": 5126, "count": side * side, "type": "VEC3"}
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "Grid"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "NORMAL": 1}, "indices": 2}]}],
        "accessors": [
            {
                "bufferView": 0,
                "min": positions.min(axis=0).tolist(),
                "max": positions.max(axis=0).tolist(),
                **vertices,
            },
            {"bufferView": 1, **vertices},
            {"bufferView": 2, "componentType": 5125, "count": len(indices), "type": "SCALAR"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": offset}],
    }
    return document, b"".join(parts)


def gltf(folder: Path) -> None:
    document, buffer = grid(50 * MB)
    document["buffers"][0]["uri"] = "big.bin"
    (folder / "big.gltf").write_text(json.dumps(document))
    (folder / "big.bin").write_bytes(buffer)


def glb(path: Path, size: int) -> None:
    document, buffer = grid(size)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    with open(path, "wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(buffer)))
        file.write(struct.pack("<II", len(text), 0x4E4F534A) + text)
        file.write(struct.pack("<II", len(buffer), 0x004E4942) + buffer)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    cube(target)
    gltf(target)
    glb(target / "big.glb", 100 * MB)
    glb(target / "middle.glb", MB)
    with zipfile.ZipFile(target / "middle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(target / "middle.glb", "middle.glb")
    glb(target / "small.glb", 100_000)
