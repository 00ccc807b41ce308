"""Development as the README starts it: sources are mounted, and a change of them is live."""

import json
import os
import shutil

import pytest
from kit import COMPILING, Stack, ask, convert_triangle, free, run, until
from test_2_production import lines_of

PORT = int(os.environ.get("TEST_PORT") or free(5000, 15000))


@pytest.fixture(scope="module")
def development(tree, tmp_path_factory):
    # A copy of its own, since sources are changed.
    folder = shutil.copytree(tree, tmp_path_factory.mktemp("development") / "meshgate")
    stack = Stack(folder, "meshgate-test-dev", ["docker-compose.yml"], {"PORT": str(PORT)})
    yield stack
    stack.compose("down --volumes --timeout 5", check=False)


def test_the_steps_of_the_readme(development):
    before = unnamed_volumes()
    up, look, logs, down = lines_of("Development")
    plan = (
        "docker-compose up --build",
        "curl http://localhost:5000/health",
        "docker-compose logs api",
        "docker-compose down",
    )
    assert (up, look, logs, down) == plan
    look = look.replace(":5000", f":{PORT}")
    with development.meanwhile(up) as foreground:

        def answers():
            assert foreground.poll() is None, "it ended by itself"
            return development.shell(look, check=False).returncode == 0

        # The first start compiles.
        until("it answers", answers, COMPILING)
        until("the engine is warm", lambda: json.loads(development.shell(look).stdout)["status"] == "healthy")
        assert convert_triangle(PORT).status == 200
        # Plain lines, for people.
        said = development.shell(f"{logs} --no-log-prefix").stdout
        assert any("listening" in line and not line.startswith("{") for line in said.splitlines()), said
        development.shell(down)
    assert development.compose("ps --all --quiet").stdout == ""
    assert unnamed_volumes() <= before


def unnamed_volumes() -> set[str]:
    """Those that nobody finds again."""
    names = run("docker", "volume", "ls", "--quiet").stdout.split()
    return {name for name in names if len(name) == 64}


def test_the_script_starts_it_and_says_where_it_is(development, tmp_path):
    # What was compiled is kept in volumes.
    done = development.shell(f"'{development.folder}/scripts/dev.sh'", timeout=COMPILING, folder=tmp_path)
    assert f"http://localhost:{PORT} " in done.stdout, done.stdout
    # It has waited: the very first request is answered.
    assert convert_triangle(PORT).status == 200
    assert development.is_healthy("api") and development.is_healthy("redis")


def change(path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text, path
    path.write_text(text.replace(before, after))


def test_a_change_in_rust_is_live(development):
    change(development.folder / "src/http/router.rs", "no such path", "nothing is here")

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
    child = development.folder / "blender/meshgate_engine/runtime/child.py"
    before = child.read_text()
    child.write_text(before + "\nraise RuntimeError('changed')\n")
    # The same model as before: no result of older code is found for it.
    until("the change is live", lambda: convert_triangle(PORT).status != 200, COMPILING)
    child.write_text(before)
    until("it converts again", lambda: convert_triangle(PORT).status == 200, COMPILING)
