"""glTF documents that the tests write without an exporter, which could change materials."""

import base64
import json
import struct
import zlib
from pathlib import Path

# The images that materials refer to by their index.
IMAGES = (
    ("base", (255, 0, 0)),
    ("orm", (0, 200, 100)),
    ("normal", (160, 128, 230)),
    ("glow", (200, 150, 100)),
    ("leaf", (0, 255, 0, 140)),
    ("dirt", (100, 255, 255)),
)
ORM, NORMAL, GLOW, LEAF, DIRT = ({"index": index} for index in range(1, 6))

# The triangle's UVs in glTF, where v points down.
UVS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
SECOND_UVS = ((0.25, 0.5), (0.75, 0.5), (0.25, 1.0))


def _png(colour: tuple) -> str:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compress((b"\0" + bytes(colour) * 4) * 4)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 6 if len(colour) == 4 else 2, 0, 0, 0))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")).decode()


def gltf(folder: Path, pbr: dict, *, coloured: bool = False, sampler: dict | None = None, **more: dict) -> Path:
    """A triangle with one material of the given properties and a red texture; ``coloured`` adds vertex colours."""
    uvs = [value for pair in UVS + SECOND_UVS for value in pair]
    content = struct.pack("<9f3H2x12f9f", 0, 0, 0, 1, 0, 0, 0, 1.8, 0, 0, 1, 2, *uvs, *[0.5] * 9)
    views = [(0, 36), (36, 6), (44, 24), (68, 24), (92, 36)]
    kinds = [(5126, "VEC3"), (5123, "SCALAR"), (5126, "VEC2"), (5126, "VEC2"), (5126, "VEC3")]
    attributes = {"POSITION": 0, "TEXCOORD_0": 2} | ({"COLOR_0": 4} if coloured else {})
    if '"texCoord": 1' in json.dumps([pbr, more]):
        attributes["TEXCOORD_1"] = 3
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 1, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, **pbr}, **more}],
        "samplers": [sampler or {}],
        "textures": [{"source": index, "sampler": 0} for index in range(len(IMAGES))],
        "images": [{"uri": f"data:image/png;base64,{_png(colour)}", "name": name} for name, colour in IMAGES],
        "accessors": [
            {"bufferView": index, "componentType": number, "count": 3, "type": kind}
            for index, (number, kind) in enumerate(kinds)
        ],
        "bufferViews": [{"buffer": 0, "byteOffset": start, "byteLength": length} for start, length in views],
        "buffers": [
            {
                "byteLength": len(content),
                "uri": f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}",
            }
        ],
    }
    document["accessors"][0] |= {"min": [0, 0, 0], "max": [1, 1.8, 0]}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.gltf"
    path.write_text(json.dumps(document))
    return path
