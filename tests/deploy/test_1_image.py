"""The production image without other services."""

import json
import os
import shutil
import time

import pytest
from kit import COMPILING, IMAGE, ROOT, ask, inspect, run, until

LARGEST = 800_000_000
FORMATS = "fbx,obj,gltf,glb,vrm,vrma,bvh,usd,usda,usdc,usdz,stl,ply,abc,blend"


def inside(*command: str, options: tuple[str, ...] = (), check: bool = True, timeout: float = 180):
    entry, *arguments = command
    return run("docker", "run", "--rm", *options, "--entrypoint", entry, IMAGE, *arguments, check=check,
               timeout=timeout)  # fmt: skip


@pytest.fixture
def server(image):
    """Starts servers; they are removed afterwards."""
    names = []

    def start(*options: str, image: str = IMAGE) -> str:
        names.append(run("docker", "run", "--detach", *options, image).stdout.strip())
        return names[-1]

    yield start
    if names:
        run("docker", "rm", "--force", "--volumes", *names)


def test_the_image_is_small_and_labelled(image):
    size = int(inspect(IMAGE, "{{.Size}}"))
    print(run("docker", "history", "--format", "{{.Size}}\t{{.CreatedBy}}", IMAGE).stdout)
    assert size <= LARGEST, f"{size / 1e6:.0f} MB"
    labels = json.loads(inspect(IMAGE, "{{json .Config.Labels}}"))
    version = inside("meshgate", "--version").stdout.split()[1]
    assert labels["org.opencontainers.image.version"] == version
    assert {"title", "description", "licenses", "revision", "created"} <= {key.rsplit(".")[-1] for key in labels}
    assert inspect(IMAGE, "{{.Config.User}}") == "10001:0"


def test_the_image_holds_no_build_tools_or_caches(image):
    tools = "for tool in gcc cc ld cargo rustc pip pip3 curl wget; do command -v $tool; done"
    caches = "ls -A /var/lib/apt/lists /root/.cache /tmp; find /var/cache/apt -name '*.deb'"
    modules = "find / -xdev -type d '(' -name pip -o -name setuptools ')'"
    script = f"{{ {tools}; {caches}; {modules}; }} 2>/dev/null; true"
    found = inside("sh", "-c", script, options=("--user", "0")).stdout.split()
    headings = {"/var/lib/apt/lists:", "/root/.cache:", "/tmp:"}
    assert set(found) <= headings, found


def test_the_sandbox_is_complete_without_capabilities(image):
    confined = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp")
    found = inside("meshgate", "doctor", options=(*confined, "--tmpfs", "/var/lib/meshgate")).stdout
    assert "✓ sandbox: complete" in found and "✗" not in found, found


def test_every_pair_of_formats_converts(image, tmp_path):
    """With the pruned engine: an example to every format, and each result to every format again."""
    (tmp_path / "source").mkdir()
    shutil.copy(ROOT / "examples/humanoid.fbx", tmp_path / "source")
    tmp_path.chmod(0o777)
    options = ("--volume", f"{tmp_path}:/work", "--workdir", "/work")

    def convert(source: str, target: str) -> list[dict]:
        done = inside("meshgate", "convert", source, "-o", target, "--to", FORMATS, "--json",
                      options=options, check=False, timeout=1800)  # fmt: skip
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        failed = [line for line in lines if line["outcome"] not in ("succeeded", "skipped")]
        assert done.returncode == 0 and not failed, (failed, done.stderr)
        return lines

    convert("source", "first")
    lines = convert("first", "second")
    worked = {(line["report"]["input"]["format"], line["report"]["output"]["format"])
              for line in lines if line["outcome"] == "succeeded"}  # fmt: skip
    formats = json.loads(inside("meshgate", "formats", "--json").stdout)["formats"]
    wanted = {(source["name"], target) for source in formats for target in source["targets"]}
    assert wanted <= worked, sorted(wanted - worked)


def test_the_image_runs_as_an_arbitrary_user(server):
    name = server("--user", "1234567890:0", "--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp",
                  "--volume", "/var/lib/meshgate", "--publish", "127.0.0.1::5000")  # fmt: skip
    until("ready", lambda: inspect(name, "{{.State.Health.Status}}") == "healthy")
    port = int(run("docker", "port", name, "5000").stdout.rsplit(":")[-1])
    model = (ROOT / "examples/humanoid.fbx").read_bytes()
    assert ask(port, "/convert?output_format=glb&filename=a.fbx", model).body[:4] == b"glTF"


def test_the_init_forwards_signals_and_reaps_orphans(server):
    name = server("--env", "SHUTDOWN_DELAY=0")
    until("ready", lambda: inspect(name, "{{.State.Health.Status}}") == "healthy")
    # Orphaned processes become children of process 1, which must reap them.
    run("docker", "exec", name, "sh", "-c", "sh -c 'sleep 0.2 &'")
    count = "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"
    until("the orphan is gone", lambda: "sleep" not in run("docker", "exec", name, "sh", "-c",
          "cat /proc/[0-9]*/comm 2>/dev/null || true").stdout)  # fmt: skip
    assert run("docker", "exec", name, "sh", "-c", count).stdout.strip() == "0"
    began = time.monotonic()
    run("docker", "stop", "--time", "120", name)
    assert time.monotonic() - began < 100, "it was killed"
    assert inspect(name, "{{.State.ExitCode}}") == "0"
    assert "stopped" in run("docker", "logs", name).stdout


def test_old_log_files_are_deleted(server):
    volume = run("docker", "volume", "create").stdout.strip()
    try:
        mount = ("--volume", f"{volume}:/var/log/blender")
        days = " ".join(f"/var/log/blender/app.2020-01-0{day}.log" for day in range(1, 6))
        inside("sh", "-c", f"touch {days}", options=mount)
        name = server(*mount, "--env", "LOG_FILE=/var/log/blender/app.log", "--env", "LOG_FILES=3")
        until("ready", lambda: inspect(name, "{{.State.Health.Status}}") == "healthy")
        files = sorted(run("docker", "exec", name, "ls", "/var/log/blender").stdout.split())
        assert len(files) == 3 and files[-1] != "app.2020-01-05.log", files
        line = run("docker", "exec", name, "head", "-1", f"/var/log/blender/{files[-1]}").stdout
        assert json.loads(line)["level"] == "INFO"
    finally:
        run("docker", "volume", "rm", "--force", volume, check=False)


@pytest.fixture
def clock(image):
    """The image with a clock that can be set."""
    recipe = f"""
        FROM {image}
        USER 0
        RUN apt-get update && apt-get install -y --no-install-recommends libfaketime
        USER 10001:0
    """
    name = f"{image}-clock"
    run("docker", "build", "--tag", name, "-", input=recipe, stdin=None, timeout=600)
    yield name
    run("docker", "rmi", name)


def test_a_new_day_starts_a_new_log_file(clock, server):
    """Midnight passes while the server runs."""
    variables = {
        "LD_PRELOAD": "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
        "FAKETIME": "@2026-01-31 23:59:50",
        "DONT_FAKE_MONOTONIC": "1",
        "LOG_FILE": "/var/log/blender/app.log",
    }
    options = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    name = server(*options, "--publish", "127.0.0.1::5000", image=clock)
    port = int(run("docker", "port", name, "5000").stdout.rsplit(":")[-1])

    def files() -> dict[str, str]:
        parts = run("docker", "exec", name, "sh", "-c", "cd /var/log/blender && tail -v -n +1 *.log").stdout
        return dict(part.split(" <==\n", 1) for part in parts.split("==> ")[1:])

    def turned():
        return ask(port, "/v1/formats").status == 200 and len(files()) == 2

    until("a file for the second day", turned)
    ask(port, "/v1/formats", X_Request_Id="the-next-day")
    found = until("its line", lambda: "the-next-day" in "".join(files().values()) and files())
    assert sorted(found) == ["app.2026-01-31.log", "app.2026-02-01.log"]
    days = {name: [json.loads(line)["timestamp"][:10] for line in text.splitlines() if line]
            for name, text in found.items()}  # fmt: skip
    assert set(days["app.2026-01-31.log"]) == {"2026-01-31"} and "2026-02-01" in days["app.2026-02-01.log"]
    assert "the-next-day" in found["app.2026-02-01.log"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--env", "REDIS_URL=http://redis"), 64, "REDIS_URL takes"),
        (("--env", "WORKERS=many", "--env", "API_KEYS_FILE=/run/secrets/none"), 64, "API_KEYS"),
        (("--read-only", "--tmpfs", "/tmp"), 64, "could not work in /var/lib/meshgate/work"),
        (("--env", "LOG_FILE=/proc/app.log"), 64, "could not write a log to"),
    ],
)  # fmt: skip
def test_invalid_configuration_is_reported_line_by_line(image, options, code, words):
    done = run("docker", "run", "--rm", *options, IMAGE, check=False)
    lines = [line for line in done.stderr.splitlines() if line]
    assert done.returncode == code and any(words in line for line in lines), done
    assert all(line.startswith("meshgate: ") for line in lines) and len(lines) <= 2, lines


def test_the_classic_builder_builds_the_image(tree, image):
    """Builds up to the engine: only those stages could differ between builders. The rest is cargo and
    COPY, and compiling again takes as long as all other tests: TEST_CLASSIC=whole includes it."""
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    target = "production" if os.environ.get("TEST_CLASSIC") == "whole" else "base"
    run("docker", "build", "--target", target, "--tag", f"{IMAGE}-classic", ".", cwd=tree, env=environment,
        timeout=COMPILING)  # fmt: skip
    run("docker", "rmi", f"{IMAGE}-classic")
