"""Every loss that the package reports has a text, and every text is used."""

import ast
from pathlib import Path

import meshgate_engine
import pytest
from meshgate_engine.job import Loss
from meshgate_engine.report.losses import KINDS, REASONS, sentence

SOURCES = [path.read_text() for path in Path(meshgate_engine.__file__).parent.rglob("*.py") if path.name != "losses.py"]
STRINGS = {node.value for text in SOURCES for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}


def test_every_loss_kind_and_reason_is_used():
    assert {*KINDS, *REASONS} <= STRINGS


@pytest.mark.parametrize("arguments", [
    call.args
    for text in SOURCES
    for call in ast.walk(ast.parse(text))
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "lose"
], ids=ast.unparse)  # fmt: skip
def test_every_reported_loss_has_a_text(arguments):
    kind, _count, reason = arguments
    assert not isinstance(kind, ast.Constant) or kind.value in KINDS
    assert not isinstance(reason, ast.Constant) or reason.value in REASONS


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (Loss("textures", 1, "single file"), "1 texture did not come out: a single usda holds none, a usdz does"),
        (
            Loss("textures", 6, "names", total=7, names=tuple("abcdef")),
            "6 of 7 textures did not come out: a, b, c, d, e and 1 more",
        ),
        (Loss("feature", 2, "holds none", name="sheen"), "2 materials lose their sheen: usda holds none"),
        (Loss("texture nodes", 2, "as they are"), "what nodes make of 2 textures: usda holds them as they are"),
        (
            Loss("other clips", 1, "one clip", total=2, names=("Run {fast}",)),
            "1 of 2 clips (Run {fast}): usda holds one",
        ),
    ],
)
def test_loss_texts_use_singular_and_plural_correctly(loss, words):
    assert sentence(loss, "usda") == words
