"""Development as the README starts it: sources are mounted, and a change of them is live."""

import json
import os

import pytest
from kit import COMPILING, Stack, ask, convert_triangle, until
from test_2_production import lines_of

PORT = int(os.environ.get("TEST_PORT", "5000"))


@pytest.fixture(scope="module")
def development(tree):
    stack = Stack(tree, "meshgate-test-dev", ["docker-compose.yml"], {"PORT": str(PORT)})
    yield stack
    stack.compose("down --volumes --timeout 5", check=False)


def test_the_steps_of_the_readme(development):
    steps = lines_of("Development")
    assert steps[-1].endswith(" down"), steps
    for step in steps[:-1]:
        line = step.replace(":5000", f":{PORT}")
        if line.startswith("curl "):
            # The first start compiles.
            until("it answers", lambda line=line: development.shell(line, check=False).returncode == 0, COMPILING)
            answered = json.loads(development.shell(line).stdout)
            assert answered["status"] in ("healthy", "degraded"), answered
        else:
            development.shell(line, timeout=COMPILING)
    until("it is healthy", lambda: development.is_healthy("api"))
    assert convert_triangle(PORT).status == 200
    # Plain lines, for people.
    said = development.compose("logs --no-log-prefix api").stdout
    assert any("listening" in line and not line.startswith("{") for line in said.splitlines()), said


def change(path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text, path
    path.write_text(text.replace(before, after))


def test_a_change_in_rust_is_live(development):
    change(development.folder / "src/http/router.rs", "nothing is at this address", "nothing is here")

    def changed():
        return "nothing is here" in ask(PORT, "/nowhere").json()["detail"]

    until("the change is live", changed, COMPILING)


def test_a_change_that_does_not_compile_is_told_and_mended(development):
    source = development.folder / "src/http/router.rs"
    change(source, "nothing is here", 'nothing is here" oops "')
    until("an error", lambda: "oops" in development.compose("logs --no-log-prefix api").stderr
          or "oops" in development.compose("logs --no-log-prefix api").stdout, COMPILING)  # fmt: skip
    change(source, 'nothing is here" oops "', "nothing was here")
    until("the change is live", lambda: "nothing was here" in ask(PORT, "/nowhere").json()["detail"], COMPILING)


def test_a_change_in_python_is_live(development):
    until("it converts", lambda: convert_triangle(PORT).status == 200)
    errors = development.folder / "blender/meshgate_engine/child.py"
    errors.write_text(errors.read_text() + "\nraise RuntimeError('changed')\n")
    until("the change is live", lambda: convert_triangle(PORT, 1).status != 200, COMPILING)
