"""The format tables in ``capabilities.py`` and ``src/domain/format.rs`` agree."""

import re
from pathlib import Path

import pytest
from meshgate_engine.capabilities import TABLE, Clips

FORMAT_RS = Path(__file__).parents[2] / "src/domain/format.rs"


def rust_rows() -> dict[str, dict]:
    text = FORMAT_RS.read_text()
    constants = dict(re.findall(r"const (\w+): &\[Feature\] = &\[(.*?)\];", text, re.DOTALL))
    constants["&Feature::ALL"] = re.search(r"ALL: \[Feature; \d+\] = \[(.*?)\];", text, re.DOTALL).group(1)
    rows = {}
    for body in re.findall(r"^    FormatInfo \{(.*?)^    \},", text, re.MULTILINE | re.DOTALL):
        given = dict(
            re.findall(r"^        (\w+): (.*?),$(?=\n        (?:\w+:|\.\.ROW))", body, re.MULTILINE | re.DOTALL)
        )
        fields = {"needs": "", "several_files": "false", "one_clip": "false"} | given
        for name in ("holds", "needs"):
            fields[name] = set(re.findall(r"\w+", constants.get(fields[name], fields[name])))
        rows[fields["name"].strip('"')] = fields
    return rows


RUST = rust_rows()


def test_the_tables_have_the_same_formats_in_the_same_order():
    assert list(RUST) == list(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_both_tables_hold_the_same_capabilities(name):
    ours, theirs = TABLE[name], RUST[name]
    holds, needs = theirs["holds"], theirs["needs"]
    assert (ours.clips is not Clips.NONE) == ("Clips" in holds)
    assert (ours.clips in {Clips.TIMELINE, Clips.SKELETON}) == (theirs["one_clip"] == "true")
    assert ours.textures == ("Textures" in holds)
    assert (ours.materials or ours.is_native) == ("Materials" in holds)
    assert (ours.instead_of_mesh is not None) == ("Mesh" in needs)
    assert ours.is_static == (holds.isdisjoint({"Skeleton", "Clips"}))
    assert ours.avatar == (ours.is_native or {"Mesh", "Humanoid"} <= holds)
    assert (ours.textures_beside or ours.materials_beside) == (theirs["several_files"] == "true")
    assert ours.skeletons == ("Skeleton" in holds)
    assert not ours.clip_parts or {"Clips", "Cameras"} <= holds
