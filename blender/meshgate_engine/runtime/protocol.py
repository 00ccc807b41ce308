"""The messages between the supervisor and a zygote.

The other side of this file is ``src/executor/local/protocol.rs``, which says what each message means and in which
order they come; ``blender/tests/protocol.json`` holds one example of each, and the tests of both sides read it.

A frame is a big-endian 32-bit length followed by that many bytes of JSON, an object with a ``type``.
"""

import json
import socket
import struct

VERSION = 2

# The longest frame, in bytes; a longer one is an error of the peer.
MAX_FRAME = 1 << 20

# From the supervisor, with the fields of each.
COMMANDS = {
    "hello": {"protocol", "sandbox", "seccomp", "readable", "cold", "hang_after_s"},
    "convert": {"id", "folder", "task", "limits"},
    "cancel": {"id"},
}

# To the supervisor, with the fields of each.
EVENTS = {
    "ready": {"protocol", "blender", "vrm_addon", "sandbox_missing"},
    "broken": {"reason"},
    "started": {"id", "pid"},
    "progress": {"id", "stage", "fraction"},
    "finished": {"id"},
    "exited": {"id", "end", "peak_memory_bytes", "cpu_seconds", "stage", "log"},
}

# The fields of "task" and "limits" of a convert.
TASK = {"input", "input_format", "output", "output_format", "options", "read_back", "importer", "most_triangles"}
LIMITS = {"memory_bytes", "cpu_seconds", "file_bytes", "disk_bytes", "open_files"}

# The ways in which a child can end, in "how" of "end".
ENDS = {
    "exit", "signal", "memory_limit", "cpu_limit", "disk_limit", "thread_limit", "hang", "cancelled", "not_started",
}  # fmt: skip

STAGES = ("importing", "processing", "exporting", "packing")

# The fields of report.json, by its "outcome".
REPORTS = {
    "succeeded": {
        "input", "output", "importer", "packed_textures", "losses", "warnings",
        "import_ms", "process_ms", "export_ms", "check_ms",
    },
    "failed": {"code", "detail"},
}  # fmt: skip

_LENGTH = struct.Struct(">I")


class ProtocolError(Exception):
    """The peer does not speak this protocol."""


def encode(kind: str, **fields: object) -> bytes:
    """The frame of an event. Raises ProtocolError when its fields are not the documented ones."""
    if set(fields) != EVENTS.get(kind):
        raise ProtocolError(f"{kind} with {sorted(fields)}")
    body = json.dumps({"type": kind, **fields}).encode()
    if len(body) > MAX_FRAME:
        raise ProtocolError(f"{kind} of {len(body)} bytes")
    return _LENGTH.pack(len(body)) + body


def decode(body: bytes) -> dict:
    """The command in a frame's body. Raises ProtocolError when it is not one."""
    try:
        message = json.loads(body)
    except ValueError as error:
        raise ProtocolError("not JSON") from error
    fields = COMMANDS.get(message.get("type")) if isinstance(message, dict) else None
    if fields is None or set(message) - {"type"} != fields:
        raise ProtocolError("not a command of this protocol")
    return message


def receive(peer: socket.socket) -> dict | None:
    """Waits for the next command; None at the end of the stream."""
    header = _receive_exactly(peer, _LENGTH.size)
    if header is None:
        return None
    (length,) = _LENGTH.unpack(header)
    if length > MAX_FRAME:
        raise ProtocolError(f"a frame of {length} bytes")
    body = _receive_exactly(peer, length)
    return None if body is None else decode(body)


def _receive_exactly(peer: socket.socket, count: int) -> bytes | None:
    received = bytearray()
    while len(received) < count:
        chunk = peer.recv(count - len(received))
        if not chunk:
            return None
        received += chunk
    return bytes(received)
