"""Development as in the README: sources are mounted, and changes take effect."""

import json
import os
import shutil

import pytest
from kit import COMPILING, Stack, ask, convert_triangle, free, run, until
from test_2_production import lines_of

PORT = int(os.environ.get("TEST_PORT") or free(5000, 15000))


@pytest.fixture(scope="module")
def development(tree, tmp_path_factory):
    # A separate copy, since the tests change sources.
    folder = shutil.copytree(tree, tmp_path_factory.mktemp("development") / "meshgate")
    stack = Stack(folder, "meshgate-test-dev", ["docker-compose.yml"], {"PORT": str(PORT)})
    yield stack
    stack.compose("down --volumes --timeout 5", check=False)


def test_the_development_steps_of_the_readme_work(development):
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
        # Human-readable lines, not JSON.
        said = development.shell(f"{logs} --no-log-prefix").stdout
        assert any("listening" in line and not line.startswith("{") for line in said.splitlines()), said
        development.shell(down)
    assert development.compose("ps --all --quiet").stdout == ""
    assert unnamed_volumes() <= before


def unnamed_volumes() -> set[str]:
    """Volumes without a name."""
    names = run("docker", "volume", "ls", "--quiet").stdout.split()
    return {name for name in names if len(name) == 64}


def test_the_script_starts_development_and_prints_its_address(development, tmp_path):
    # Volumes keep compiled code.
    done = development.shell(f"'{development.folder}/scripts/dev.sh'", timeout=COMPILING, folder=tmp_path)
    assert f"http://localhost:{PORT} " in done.stdout, done.stdout
    # The script waited until ready: the very first request is answered.
    assert convert_triangle(PORT).status == 200
    assert development.is_healthy("api") and development.is_healthy("redis")


def change(path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text, path
    path.write_text(text.replace(before, after))


def test_changed_rust_code_is_rebuilt(development):
    change(development.folder / "src/http/router.rs", "no such path", "nothing is here")

    def changed():
        return "nothing is here" in ask(PORT, "/nowhere").json()["detail"]

    until("the change is live", changed, COMPILING)


def test_compile_errors_are_shown_and_can_be_fixed(development):
    source = development.folder / "src/http/router.rs"
    change(source, "nothing is here", 'nothing is here" oops "')
    until("an error", lambda: "oops" in development.compose("logs --no-log-prefix api").stderr
          or "oops" in development.compose("logs --no-log-prefix api").stdout, COMPILING)  # fmt: skip
    change(source, 'nothing is here" oops "', "nothing was here")
    until("the change is live", lambda: "nothing was here" in ask(PORT, "/nowhere").json()["detail"], COMPILING)


def test_changed_python_code_is_reloaded(development):
    until("it converts", lambda: convert_triangle(PORT).status == 200)
    child = development.folder / "blender/meshgate_engine/runtime/child.py"
    before = child.read_text()
    child.write_text(before + "\nraise RuntimeError('changed')\n")
    # The same model as before: the cache does not return results of older code.
    until("the change is live", lambda: convert_triangle(PORT).status != 200, COMPILING)
    child.write_text(before)
    until("it converts again", lambda: convert_triangle(PORT).status == 200, COMPILING)
