"""Operator messages become one sentence or an empty string."""

import pytest
from meshgate_engine.blender_api.operators import sentence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Error: PLY Importer: failed importing, no vertices\n", "failed importing, no vertices"),
        ("Error: Cannot read file '/var/lib/x/in/a.stl'\n", ""),
        ("Error: Python: Traceback (most recent call last):\n  File \"x.py\", line 3\nKeyError: 'a'\n", ""),
        (
            "Error: Python: Traceback (most recent call last):\nRuntimeError: Error: Python: Traceback",
            "",
        ),
        ("Error: Bad glTF: no version\n", "bad glTF: no version"),
        (
            "Error: Python: Traceback (most recent call last):\nException: primitive mode unimplemented: -7\n",
            "it has primitives of a kind that does not exist",
        ),
        (
            "Error: Extension EXT_meshopt_compression is not available on this addon version\n",
            "it needs the extension EXT_meshopt_compression, which cannot be read",
        ),
        ("Error: Python: Traceback (most recent call last):\nRuntimeError: tables are made of wood\n", ""),
    ],
)
def test_operator_messages_become_one_sentence(text, expected):
    assert sentence(text) == expected
