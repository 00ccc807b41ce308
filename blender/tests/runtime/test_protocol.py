"""Both sides of the protocol are tested with the same examples; the Rust tests read the same file."""

import json
import socket
import struct
from pathlib import Path

import pytest
from meshgate_engine.runtime import protocol

EXAMPLES = json.loads((Path(__file__).parents[1] / "protocol.json").read_text())


@pytest.mark.parametrize("example", EXAMPLES["commands"], ids=lambda example: example["type"])
def test_example_commands_are_decoded(example):
    assert protocol.decode(json.dumps(example).encode()) == example
    if example["type"] == "convert":
        assert set(example["task"]) == protocol.TASK
        assert set(example["limits"]) == protocol.LIMITS


@pytest.mark.parametrize("example", EXAMPLES["events"], ids=lambda example: example["type"])
def test_events_are_encoded_like_the_examples(example):
    fields = {name: value for name, value in example.items() if name != "type"}
    frame = protocol.encode(example["type"], **fields)
    assert json.loads(frame[4:]) == example
    assert struct.unpack(">I", frame[:4])[0] == len(frame) - 4


def test_every_message_has_an_example():
    assert {example["type"] for example in EXAMPLES["commands"]} == set(protocol.COMMANDS)
    assert {example["type"] for example in EXAMPLES["events"]} == set(protocol.EVENTS)
    assert {example["end"]["how"] for example in EXAMPLES["events"] if "end" in example} == protocol.ENDS
    for example in EXAMPLES["reports"]:
        assert set(example) - {"outcome"} == protocol.REPORTS[example["outcome"]]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"type": "cancel"}', b'{"type": "cancel", "id": 1, "x": 2}', b"\xff"])
def test_invalid_messages_are_refused(body):
    with pytest.raises(protocol.ProtocolError):
        protocol.decode(body)


def test_a_closed_stream_returns_none():
    near, far = socket.socketpair()
    body = json.dumps({"type": "cancel", "id": 3}).encode()
    near.sendall(struct.pack(">I", len(body)) + body + b"\x00\x00")
    near.close()
    assert protocol.receive(far) == {"type": "cancel", "id": 3}
    assert protocol.receive(far) is None


def test_a_huge_frame_is_refused():
    near, far = socket.socketpair()
    near.sendall(b"\xff\xff\xff\xff")
    with pytest.raises(protocol.ProtocolError):
        protocol.receive(far)
