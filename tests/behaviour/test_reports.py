"""Reports of every pair of formats, for the examples and for models that show losses."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import snapshot

EXAMPLES = ["humanoid.blend", "humanoid.fbx", "humanoid.vrm", "walk.bvh", "crate/crate.obj"]
# Values that differ between runs or machines. Clip durations are kept.
UNSTEADY = {"timings", "bytes", "engine"}


@functools.cache
def formats() -> list[str]:
    """The names of all formats, from the program itself, so that a new one needs a snapshot."""
    command = [snapshot.PROGRAM, "formats", "--json"]
    done = subprocess.run(command, env=snapshot.ENVIRONMENT, capture_output=True, text=True, timeout=60, check=True)
    return sorted(row["name"] for row in json.loads(done.stdout)["formats"])


def convert(inputs: list[Path], out: Path, *options: str) -> list[dict]:
    """One line for each conversion of each input to each format."""
    command = [
        snapshot.PROGRAM,
        "convert",
        *inputs,
        "-o",
        out,
        "--to",
        ",".join(formats()),
        "--json",
        "--no-cache",
        *options,
    ]
    done = subprocess.run(
        command, cwd=snapshot.ROOT, env=snapshot.ENVIRONMENT, capture_output=True, text=True, timeout=900, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(inputs) * len(formats()), done.stderr
    return lines


def steady(value: object) -> object:
    """The same without empty values and values that differ between runs."""
    if isinstance(value, dict):
        kept = {name: steady(inner) for name, inner in value.items() if name not in UNSTEADY}
        return {name: inner for name, inner in kept.items() if inner not in (0, None, False, [], {})}
    if isinstance(value, list):
        return [steady(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 3) + 0.0
    return value


def told(lines: list[dict], *folders: Path) -> str:
    """A line for each conversion, with folders replaced by ``…``."""
    texts = [json.dumps(steady(line | {"seconds": 0}), ensure_ascii=False) for line in lines]
    for folder in folders:
        texts = [text.replace(str(folder), "…") for text in texts]
    return "".join(f"{line}\n" for line in sorted(texts))


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder of models from `build_models.py`."""
    folder = tmp_path_factory.mktemp("models")
    models = str(Path(__file__).with_name("build_models.py"))
    subprocess.run([sys.executable, models, str(folder)], check=True, timeout=300)
    return folder


def test_reports_of_the_examples_match_the_snapshot(tmp_path):
    examples = [snapshot.ROOT / "examples" / name for name in EXAMPLES]
    snapshot.check("examples.jsonl", told(convert(examples, tmp_path), snapshot.ROOT / "examples", tmp_path))


def test_reports_of_the_models_match_the_snapshot(built, tmp_path):
    lines = convert(sorted(built.iterdir()), tmp_path)
    snapshot.check("models.jsonl", told(lines, built, tmp_path))


def test_reports_of_every_source_format_match_the_snapshot(built, tmp_path):
    """Converts one model to each format, and each result to each format again."""
    first = convert([built / "person.blend"], tmp_path / "first")
    made = [Path(line["output"]) for line in first if line["outcome"] == "succeeded"]
    assert len(made) == len(formats())
    lines = convert(made, tmp_path / "second")
    snapshot.check("formats.jsonl", told(lines, tmp_path))


@pytest.mark.parametrize("option", ["--animation=false", "--scale=2"])
def test_reports_with_options_match_the_snapshot(built, tmp_path, option):
    lines = convert([built / "person.blend", built / "leaf.gltf"], tmp_path, option)
    snapshot.check(f"option{option.split('=')[0][1:]}.jsonl", told(lines, built, tmp_path))
