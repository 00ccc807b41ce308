"""One client cannot keep the engine, or the queue, from the others."""

import base64
import contextlib
import http.client
import json
import socket
import struct
import threading
import time

import pytest
from kit import until

# Seconds that a client waits before the engine stops a conversion of a client with more than its share.
PATIENCE = 10
# Seconds of a small conversion without waiting, on a busy machine.
SMALL = 12


def two_keys(seconds: float, name: str = "clip") -> bytes:
    """A glTF of a triangle that moves for the given time."""
    floats = (0.0, seconds, *(0, 0, 0, 1, 0, 0), *(0, 0, 0, 1, 0, 0, 0, 1, 0))
    buffer = base64.b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode()
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": 2, "type": "SCALAR", "min": [0], "max": [seconds]},
        {"bufferView": 1, "componentType": 5126, "count": 2, "type": "VEC3"},
        {"bufferView": 2, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0]},
    ]
    spans = ((0, 8), (8, 24), (32, 36))
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 2}}]}],
        "buffers": [{"byteLength": 68, "uri": f"data:;base64,{buffer}"}],
        "bufferViews": [{"buffer": 0, "byteOffset": start, "byteLength": length} for start, length in spans],
        "accessors": accessors,
        "animations": [
            {
                "name": name,
                "samplers": [{"input": 0, "output": 1}],
                "channels": [{"sampler": 0, "target": {"node": 0, "path": "translation"}}],
            }
        ],
    }
    return json.dumps(document).encode()


class Flood:
    """A client that keeps the engine busy with tiny, slow models; it disconnects at the end."""

    def __init__(self, server, count: int, **headers: str):
        self.port, self.statuses = server.port, []
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.over, self.connections = threading.Event(), [None] * count
        self.threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(count)]

    def _ask(self, number: int) -> None:
        # 700,000 frames, in a clip with a unique name: equal requests would be coalesced.
        model = two_keys(29_000, f"clip{number}")
        while not self.over.is_set():
            connection = self.connections[number] = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("POST", "/convert?output_format=abc&filename=a.gltf", model, self.headers)
                answer = connection.getresponse()
                answer.read()
                self.statuses.append((answer.status, answer.getheader("retry-after")))
            connection.close()
            self.over.wait(0.5)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for connection in self.connections:
            with contextlib.suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()


def health(server) -> dict:
    return server.get("/health").json()


@pytest.mark.parametrize("target", ["fbx", "usdc", "abc"])
def test_a_tiny_model_with_endless_motion_is_refused_immediately(gateway, target):
    with gateway.watched():
        began = time.monotonic()
        answer = gateway.convert("a.gltf", two_keys(1e9), target, Cache_Control="no-cache")
        took = time.monotonic() - began
    assert (answer.status, answer.code) == (422, "import_failed"), answer.body[:500]
    assert "the motion is too long" in answer.json()["detail"]
    assert took < SMALL, f"{took:.1f} s"


def test_other_clients_keep_their_share_during_a_flood(start):
    """One client fills both workers and the queue before another one comes; clients are told apart by address."""
    server = start(TRUSTED_PROXIES="127.0.0.1", WORKERS="2", QUEUE_LIMIT="6")
    with server.watched():
        with Flood(server, 10, X_Forwarded_For="198.51.100.1") as flood:
            until("the engine and the queue are full", lambda: health(server)["queue"]["full"])
            times = []
            for _ in range(4):
                began = time.monotonic()
                server.convert_triangle(X_Forwarded_For="198.51.100.2")
                times.append(time.monotonic() - began)
            # The flood continues with its remaining slot.
            assert health(server)["engine"]["busy"] >= 1
        print("the other client's conversions took", times)
        assert times[0] < PATIENCE + SMALL, times
        # The slot that was freed at first stays available to other clients.
        assert max(times[1:]) < PATIENCE, times
        assert "another client took over the slot" in server.log.read_text()
        refused = [after for status, after in flood.statuses if status == 503]
        assert refused, flood.statuses
        assert all(refused), "without Retry-After"
