"""Clients that read their answers as slowly as allowed, or slower."""

import contextlib
import json
import socket
import struct
import threading
import time

from kit import CORNERS, POSITIONS, triangle_gltf, until


def large_glb(length: int) -> bytes:
    """A triangle with an incompressible texture of the given size."""
    binary = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0) + b"\7" * length
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0]}
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": 36},
            {"buffer": 0, "byteOffset": 36, "byteLength": length},
        ],
        "images": [{"bufferView": 1, "mimeType": "image/png"}],
        "buffers": [{"byteLength": len(binary)}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    total = 28 + len(text) + len(binary)
    head = struct.pack("<5I", 0x46546C67, 2, total, len(text), 0x4E4F534A)
    return head + text + struct.pack("<2I", len(binary), 0x4E4942) + binary


def ask(gateway, request: bytes) -> socket.socket:
    """Sends a request over a connection with a small receive buffer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", gateway.port))
    connection.sendall(request)
    return connection


class Reader(threading.Thread):
    """Reads an answer at the given bytes per second, until its end or until stopped."""

    def __init__(self, connection: socket.socket, speed: int):
        super().__init__(daemon=True)
        self.connection, self.speed, self.over = connection, speed, threading.Event()
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while not self.over.is_set() and self.connection.recv(max(1, self.speed // 10)):
                self.over.wait(0.1)

    def stop(self) -> None:
        self.over.set()
        self.join()
        self.connection.close()


def test_readers_that_are_too_slow_are_disconnected(start):
    """Each slow reader holds a connection, descriptors and a folder."""
    gateway = start(READ_TIMEOUT="3", CACHE="off")
    model = large_glb(12 << 20)
    request = b"POST /convert?output_format=gltf&filename=a.glb HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"
    with gateway.watched():
        before = gateway.state()
        connections = [ask(gateway, request % len(model) + model) for _ in range(24)]
        # All of them have begun to receive their responses.
        for connection in connections:
            connection.recv(1, socket.MSG_PEEK)
        held = gateway.state()
        assert held.conversions >= before.conversions + 20, held
        readers = [Reader(connection, speed) for connection, speed in zip(connections, [10, 100, 500] * 8, strict=True)]

        def cut() -> bool:
            now = gateway.state()
            return now.descriptors <= before.descriptors + 8 and now.conversions <= before.conversions

        # While all of them still read.
        until("cut", cut, 40)
        for reader in readers:
            reader.stop()


def test_a_slow_reader_uses_little_memory(gateway):
    """Once it was 1.2 MB each: a thousand connections exceeded the server's memory share of its container."""
    model = large_glb(12 << 20)
    assert gateway.convert("a.glb", model, "gltf").status == 200
    request = b"POST /convert?output_format=gltf&filename=a.glb HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"
    with gateway.watched():
        connections = [ask(gateway, request % len(model) + model) for _ in range(5)]
        for connection in connections:
            connection.recv(1, socket.MSG_PEEK)
        time.sleep(1)
        before = gateway.state().memory
        connections += [ask(gateway, request % len(model) + model) for _ in range(60)]
        for connection in connections:
            connection.recv(1, socket.MSG_PEEK)
        time.sleep(1)
        grown = (gateway.state().memory - before) // 60
        for connection in connections:
            connection.close()
    assert grown < 640 << 10, f"{grown >> 10} kB for each"


def test_readers_of_one_report_share_its_memory(gateway):
    """Many clients request a report with many clips at once, and none reads it."""
    answer = gateway.convert("a.gltf", gltf_with_clips(), "glb", Cache_Control="no-cache")
    assert answer.status == 200, answer.body[:500]
    path = answer.headers["link"].split("<")[1].split(">")[0]
    report = gateway.get(path)
    assert (report.status, report.headers["cache-control"]) == (200, "no-store")
    request = f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode()
    with gateway.watched():
        before = gateway.state().memory
        connections = [ask(gateway, request) for _ in range(100)]
        for connection in connections:
            assert connection.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 200"
        time.sleep(0.5)
        # Memory of the connections themselves, and one shared text.
        allowed = 100 * (128 << 10) + 4 * len(report.body)
        grown = gateway.state().memory - before
        for connection in connections:
            connection.close()
    assert grown < allowed, f"{grown >> 10} kB for 100 readers of {len(report.body) >> 10} kB"


def gltf_with_clips(number: int = 400) -> bytes:
    """A triangle with many clips that have long names."""
    name = "clip " * 100
    document = triangle_gltf(
        # Two times and two positions after the vertices.
        CORNERS + struct.pack("<8f", 0, 1, 0, 0, 0, 1, 2, 3),
        accessors=[
            POSITIONS,
            {"bufferView": 1, "componentType": 5126, "count": 2, "type": "SCALAR", "min": [0], "max": [1]},
            {"bufferView": 2, "componentType": 5126, "count": 2, "type": "VEC3"},
        ],
        bufferViews=[
            {"buffer": 0, "byteLength": 36},
            {"buffer": 0, "byteOffset": 36, "byteLength": 8},
            {"buffer": 0, "byteOffset": 44, "byteLength": 24},
        ],
        animations=[
            {
                "name": f"{name}{index}",
                "samplers": [{"input": 1, "output": 2}],
                "channels": [{"sampler": 0, "target": {"node": 0, "path": "translation"}}],
            }
            for index in range(number)
        ],
    )
    return json.dumps(document).encode()
