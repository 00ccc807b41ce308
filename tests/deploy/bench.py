"""Measures the image and the service in containers; `make bench-deploy` writes it into docs/BENCHMARKS.md.

Compared setups are measured alternately. `--quick` measures the image of `make test-deploy` instead of building one.
"""

import concurrent.futures
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import kit
from kit import COMPILING, IMAGE, ROOT, Stack, inspect, run, until, write_section

HEADING = "In containers"
CLIENTS = 4
SECONDS = 8
ROUNDS = 5


def copy(folder: Path) -> Path:
    names = run("git", "ls-files", cwd=ROOT).stdout.splitlines()
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


def build(tree: Path, *options: str) -> float:
    began = time.monotonic()
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    run("docker", "build", *options, "--tag", IMAGE, ".", cwd=tree, env=environment, timeout=COMPILING)
    return time.monotonic() - began


def layers() -> list[tuple[str, float]]:
    """The parts of the image and their sizes in MB."""
    known = {
        "COPY /src/target/release/meshgate": "the program",
        "/opt/meshgate #": "Blender as a Python module, numpy, the VRM add-on",
        "install-libraries.sh &&": "Python 3.11, X's client libraries, certificates, tini",
    }
    found, rest = [], 0.0
    lines = run("docker", "history", "--no-trunc", "--format", "{{json .}}", "--human=false", IMAGE).stdout
    for layer in map(json.loads, lines.splitlines()):
        megabytes = int(layer["Size"]) / 1e6
        name = next((name for words, name in known.items() if words in layer["CreatedBy"]), None)
        if name:
            found.append((name, megabytes))
        else:
            rest += megabytes
    return [*found, ("Debian 12 slim", rest)]


def address(stack: Stack, service: str) -> str:
    name = stack.container(service)
    return inspect(name, f'{{{{(index .NetworkSettings.Networks "{stack.name}_front").IPAddress}}}}')


def rate(host: str, port: int) -> float:
    return kit.rate(host, port, CLIENTS, SECONDS)


def memory(stack: Stack) -> dict[str, str]:
    names = {stack.container(service): service for service in ("nginx", "api", "redis", "redis-jobs")}
    lines = run("docker", "stats", "--no-stream", "--format", "{{.Name}}\t{{.MemUsage}}", *names).stdout
    return {names[name]: used.split(" / ")[0] for name, used in (line.split("\t") for line in lines.splitlines())}


def measure(tree: Path, quick: bool) -> str:
    rows = []
    if not quick:
        rows.append(("cold build", f"{build(tree, '--no-cache'):.0f} s", ""))
        source = tree / "src/http/router.rs"
        source.write_text(source.read_text() + "\n// changed\n")
        rows.append(("rebuild after a change of one source", f"{build(tree):.0f} s", ""))
    (tree / "secrets").mkdir()
    (tree / "secrets/redis_password").write_text("0123456789abcdef")
    (tree / ".env.production").write_text("RATE_LIMIT_REQUESTS=0\n")
    stack = Stack(tree, "meshgate-bench", ["docker-compose.prod.yml"], {"HTTP_PORT": "18082"})
    try:
        began = time.monotonic()
        stack.compose("up -d --no-build")
        until("healthy", lambda: stack.is_healthy("nginx"))
        rows.append(("`up` to all healthy", f"{time.monotonic() - began:.1f} s", ""))
        idle = memory(stack)
        nginx, api = (address(stack, "nginx"), 8080), (address(stack, "api"), 5000)
        rates = [(rate(*nginx), rate(*api)) for _ in range(ROUNDS)]
        through, direct = (statistics.median(each) for each in zip(*rates, strict=True))
        ratio = statistics.median(one / other for one, other in rates)
        rows.append(("small conversions by 4 clients: through nginx / direct",
                     f"{through:.1f}/s / {direct:.1f}/s, ratio of alternate runs {ratio:.2f}", "≥ 0.95"))  # fmt: skip
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            working = pool.submit(rate, *nginx)
            loaded = memory(stack)
            working.result()
    finally:
        stack.compose("down --volumes --timeout 5", check=False)
    rows += [(f"memory of {name}, idle and at work", f"{idle[name]}, {loaded[name]}", "") for name in idle]
    text = "Written by `make bench-deploy`.\n\n| what | measured | goal |\n| --- | --- | --- |\n"
    text += "".join(f"| {what} | {value} | {goal} |\n" for what, value, goal in rows)
    parts = layers()
    total = sum(size for _, size in parts)
    text += f"\n| the production image, {total:.0f} MB (goal: ≤ 800) | MB |\n| --- | --- |\n"
    return text + "".join(f"| {name} | {size:.0f} |\n" for name, size in parts)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = measure(copy(Path(folder) / "meshgate"), "--quick" in sys.argv)
    print(text)
    write_section(HEADING, text)


if __name__ == "__main__":
    main()
