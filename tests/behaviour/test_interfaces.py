"""Meshgate's public interfaces: help texts, exit and error codes, metrics, documents."""

import json
import re
import socket
import subprocess
import time
import urllib.request

import snapshot


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [snapshot.PROGRAM, *arguments]
    environment = snapshot.ENVIRONMENT | options
    return subprocess.run(
        command, cwd=snapshot.ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def help_texts(*subcommand: str) -> str:
    """The help of a subcommand, and of all subcommands that it lists."""
    done = run(*subcommand, "--help")
    assert done.returncode == 0, done.stderr
    section = re.search(r"^Commands:\n((?:  .*\n)*)", done.stdout, re.MULTILINE)
    names = re.findall(r"^  (\S+)", section[1], re.MULTILINE) if section else []
    below = "".join(help_texts(*subcommand, name) for name in names)
    return f"$ {' '.join(['meshgate', *subcommand])} --help\n{done.stdout}\n{below}"


def test_help_text_matches_the_snapshot():
    texts = help_texts()
    assert "$ meshgate engine install --help" in texts, "nested subcommands are missing"
    snapshot.check("help.txt", texts)


def test_generated_documents_match_the_committed_ones():
    assert json.loads(run("openapi").stdout) == json.loads((snapshot.ROOT / "docs/openapi.json").read_text())
    assert json.loads(run("schema").stdout) == json.loads((snapshot.ROOT / "docs/report.schema.json").read_text())


def test_exit_codes_match_the_snapshot(tmp_path):
    empty = tmp_path / "empty.fbx"
    empty.touch()
    folder = tmp_path / "nothing"
    folder.mkdir()
    cases = {
        "a conversion": ["convert", "examples/walk.bvh", "-o", str(tmp_path / "walk.glb")],
        "a file that is there": ["convert", "examples/walk.bvh", "-o", str(tmp_path / "walk.glb")],
        "an empty file": ["convert", str(empty), "-o", str(tmp_path / "empty.glb")],
        "a file that is not there": ["convert", "no.fbx", "-o", str(tmp_path / "no.glb")],
        "an empty folder": ["convert", str(folder), "-o", str(tmp_path / "out"), "--to", "glb"],
        "a pair that cannot be": ["convert", "examples/walk.bvh", "-o", str(tmp_path / "walk.stl")],
        "an unknown format": ["convert", "examples/walk.bvh", "-o", str(tmp_path / "walk.xyz")],
        "an unknown option": ["convert", "--nothing"],
        "no server": ["healthcheck"],
        "a wrong setting": ["serve", "--workers", "many"],
        "doctor": ["doctor"],
    }
    snapshot.check("exit-codes.txt", "".join(f"{run(*of, PORT='1').returncode} {case}\n" for case, of in cases.items()))


def test_error_codes_match_the_snapshot():
    """Error codes and HTTP statuses from the OpenAPI document."""
    document = json.loads(run("openapi").stdout)
    codes = [code["const"] for code in document["components"]["schemas"]["ErrorCode"]["oneOf"]]
    statuses = {
        (path, method, status)
        for path, methods in document["paths"].items()
        for method, call in methods.items()
        for status in call["responses"]
    }
    told = [f"code {code}" for code in sorted(codes)] + [" ".join(each) for each in sorted(statuses)]
    snapshot.check("answers.txt", "".join(f"{line}\n" for line in told))


def test_metric_names_and_labels_match_the_snapshot():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = snapshot.ENVIRONMENT | {"BIND_ADDRESS": address}
    server = subprocess.Popen([snapshot.PROGRAM, "serve"], cwd=snapshot.ROOT, env=environment, **silent)
    try:
        metrics = scrape(f"http://{address}")
    finally:
        server.terminate()
        server.wait(60)
    names = re.findall(r"^# (?:HELP|TYPE) .*$", metrics, re.MULTILINE)
    labels = {
        (name, tuple(sorted(set(re.findall(r"(\w+)=\"", labels)) - {"le"})))
        for name, labels in re.findall(r"^(\w+)(\{.*\})? ", metrics, re.MULTILINE)
    }
    told = sorted(names) + [f"{name} {' '.join(labels)}".rstrip() for name, labels in sorted(labels)]
    snapshot.check("metrics.txt", "".join(f"{line}\n" for line in told))


def scrape(url: str) -> str:
    """The metrics after a conversion, a refusal and a cache hit."""
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=5)
            break
        except OSError:
            time.sleep(0.25)
    model = (snapshot.ROOT / "examples/walk.bvh").read_bytes()
    for content in (model, model, b"nothing"):
        request = urllib.request.Request(f"{url}/convert?output_format=glb&input_format=bvh", content, method="POST")
        request.add_header("Content-Type", "application/octet-stream")
        try:
            urllib.request.urlopen(request, timeout=120).read()
        except urllib.error.HTTPError as refused:
            refused.read()
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        return answer.read().decode()
