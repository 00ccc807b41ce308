"""The registry has every format of the domain, and no other."""

import re
from pathlib import Path

from helpers import in_child
from meshgate_engine import formats
from meshgate_engine.capabilities import TABLE

FORMAT_RS = Path(__file__).parents[3] / "src/domain/format.rs"


def test_every_format_has_a_module():
    names = re.findall(r'^        name: "(\w+)",$', FORMAT_RS.read_text(), re.MULTILINE)
    assert names == list(TABLE)


def test_every_format_module_reads_and_writes():
    assert in_child(_incomplete) == []


def _incomplete() -> list[str]:
    formats.load_all()
    return [name for name in TABLE if not {"read", "write"} <= set(dir(formats.module(name)))]
