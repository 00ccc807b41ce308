"""Results: unexpected files of a child, results far larger than their models, and zipping.

`tests/engine/extra_files.py` is the real engine whose children leave extra files: the model's name selects them.
"""

import contextlib
import io
import json
import shlex
import socket
import struct
import time
import zipfile

import pytest
from kit import CORNERS, ROOT, TRIANGLE, at_once, triangle_gltf, zipped

PNG = b"\x89PNG\r\n\x1a\n"
# Harmful names that a valid zip can contain: none begins with a dot or leads out of the zip.
HARMFUL = ("1:t.png", "aux.png", "run.sh", "hooks/pre-commit", "two\nlines.png", "what?.png", "COM1")


@pytest.fixture
def leaving_extra_files(start, tmp_path):
    """Starts servers whose children leave extra files."""
    python, script = ROOT / ".venv/bin/python", ROOT / "tests/engine/extra_files.py"
    stand_in = tmp_path / "python"
    stand_in.write_text(
        "#!/bin/sh\n"
        'case "$3" in *__main__.py*)\n'
        f"""    code=$(printf %s "$3" | sed 's#"[^"]*/__main__.py"#"{script}"#')\n"""
        f'    exec {shlex.quote(str(python))} "$1" "$2" "$code"\n'
        "esac\n"
        f'exec {shlex.quote(str(python))} "$@"\n'
    )
    stand_in.chmod(0o755)
    return lambda **variables: start(BLENDER_PYTHON=str(stand_in), **variables)


def names(answer) -> list[str]:
    assert answer.status == 200, answer.body[:500]
    return sorted(zipfile.ZipFile(io.BytesIO(answer.body)).namelist())


def is_harmless(name: str) -> bool:
    parts = name.split("/")
    return all(
        part.isprintable() and not part.lower().startswith((".", "aux.", "com1")) and not set(part) & set('\\:*?"<>|')
        for part in parts
    )


def test_unsafe_file_names_of_a_child_are_left_out(leaving_extra_files):
    server = leaving_extra_files()
    with server.watched():
        for _ in ("carried out", "out of the cache"):
            assert names(server.convert("names.obj", TRIANGLE, "obj")) == ["FINE.png", "names.mtl", "names.obj"]
        answer = server.ask("POST", "/convert?output_format=obj&packaging=zip&filename=names.obj", TRIANGLE)
        assert names(answer) == ["FINE.png", "names.mtl", "names.obj"]
        report = server.get(answer.headers["link"].split(">")[0].strip("<")).json()
        assert any(".bashrc" in warning for warning in report["warnings"]), report["warnings"]


def test_results_with_excessive_files_or_sizes_are_refused(leaving_extra_files):
    server = leaving_extra_files()
    with server.watched():
        for name, code in [
            ("many", "export_failed"),
            ("long_names", "export_failed"),
            ("deep", "export_failed"),
            # 1.6 GB of sparse files, which take no disk space but would count in full in every zip.
            ("sparse", "output_too_large"),
        ]:
            answer = server.convert(f"{name}.obj", TRIANGLE, "obj")
            assert (answer.status, answer.code) == (422, code), (name, answer.body[:300])


def gltf_with_files(files: dict[str, bytes], main: dict) -> bytes:
    """A zip of a glTF and the files that it refers to."""
    zip_file = io.BytesIO()
    with zipfile.ZipFile(zip_file, "w") as archive:
        archive.writestr("m.gltf", json.dumps(main))
        for name, content in files.items():
            archive.writestr(name, content)
    return zip_file.getvalue()


def test_names_in_results_are_safe_and_stay_linked(gateway):
    """Without Blender; Blender's results are tested in blender/tests/materials/test_textures.py."""
    contents = {name: PNG + bytes([index]) for index, name in enumerate(HARMFUL)}
    main = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{}],
        "images": [{"uri": name} for name in HARMFUL],
        "buffers": [{"uri": "geometry.exe", "byteLength": 4}],
    }
    with gateway.watched():
        body = gltf_with_files({**contents, "geometry.exe": b"1234"}, main)
        answer = gateway.ask("POST", "/convert?output_format=gltf&packaging=zip&filename=m.zip", body)
        found = names(answer)
        assert len(found) == len(HARMFUL) + 2, found
        assert all(is_harmless(name) for name in found), found
        archive = zipfile.ZipFile(io.BytesIO(answer.body))
        document = json.loads(archive.read("m.gltf"))
        read = [archive.read(image["uri"]) for image in document["images"]]
        assert read == list(contents.values())
        assert archive.read(document["buffers"][0]["uri"]) == b"1234"


def copies(count: int, side: int) -> bytes:
    """A glb of ``count`` nodes that share a grid of 2 · ``side``² triangles."""
    places = b"".join(struct.pack("<3f", x, y, 0) for y in range(side + 1) for x in range(side + 1))
    width = side + 1
    corners = [(y * width + x, y * width + x + 1, (y + 1) * width + x) for y in range(side) for x in range(side)]
    faces = b"".join(struct.pack("<6H", a, b, c, b, c + 1, c) for a, b, c in corners)
    binary = places + faces + bytes(-len(faces) % 4)
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": list(range(count))}],
        "nodes": [{"mesh": 0, "translation": [index, 0, 0]} for index in range(count)],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"byteLength": len(binary)}],
        "bufferViews": [
            {"buffer": 0, "byteLength": len(places)},
            {"buffer": 0, "byteOffset": len(places), "byteLength": len(faces)},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": width**2, "type": "VEC3", "min": [0, 0, 0],
             "max": [side, side, 0]},
            {"bufferView": 1, "componentType": 5123, "count": len(faces) // 2, "type": "SCALAR"},
        ],
    }  # fmt: skip
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 28 + len(text) + len(binary), len(text), b"JSON")
    return head + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary


def test_a_model_with_many_copies_is_refused_before_writing(gateway):
    """200 million triangles would be 10 GB of STL; once, 1 GB was written before the refusal."""
    model = copies(10_000, 100)
    assert len(model) < 800_000
    with gateway.watched():
        began = time.monotonic()
        answer = gateway.convert("grid.glb", model, "stl")
        assert (answer.status, answer.code) == (422, "output_too_large"), answer.body[:300]
        assert "larger than 1024 MiB" in answer.json()["detail"]
        # Writing up to the limit took 45 seconds.
        assert time.monotonic() - began < 25
        # Copies are accepted if the target can share their mesh.
        assert gateway.convert("grid.glb", copies(300, 200), "fbx").status == 200


def test_zipping_stops_on_disconnect_and_timeout(leaving_extra_files):
    server = leaving_extra_files(CONVERSION_TIMEOUT="5", MAX_UNPACKED_SIZE="9G")
    with server.watched():
        for packaging in ("auto", "zip"):
            path = f"/convert?output_format=obj&packaging={packaging}&filename=slow_to_zip.obj"
            with pytest.raises(TimeoutError):
                server.ask("POST", path, TRIANGLE, timeout=3)
            time.sleep(1)
            before = server.processor_seconds()
            time.sleep(1)
            assert server.processor_seconds() - before < 0.5, "zipping goes on without a client"

            began = time.monotonic()
            answer = server.ask("POST", path, TRIANGLE)
            assert (answer.status, answer.code) == (504, "timeout"), answer.body[:300]
            assert time.monotonic() - began < 12


def test_few_requests_check_a_large_cached_result_at_once(gateway):
    """Many clients repeatedly request a large cached result with a small zip and disconnect."""
    document = triangle_gltf(CORNERS)
    document["images"] = [{"uri": "b.bin"}] * 44
    model = zipped({"a.gltf": json.dumps(document).encode(), "b.bin": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    assert gateway.convert("a.zip", model, "gltf").status == 200
    head = b"POST /convert?output_format=gltf&filename=a.zip HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"

    def ask_and_go() -> None:
        for _ in range(40):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", gateway.port), 5) as connection:
                connection.sendall(head % len(model) + model)
                time.sleep(0.02)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with gateway.watched() as watch:
        before = gateway.processor_seconds()
        at_once(*[ask_and_go] * 30)
        spent = gateway.processor_seconds() - before
    # Each full check would take 0.05 s.
    assert spent < 1200 * 0.05 / 3, spent
    print(f"1,200 requests: {spent:.1f} s of processor, /livez at most {watch.worst * 1000:.0f} ms")
