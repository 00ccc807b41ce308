"""The scripts that start and stop production, from the first start to a failed one."""

import shutil

import pytest
from kit import COMPILING, Stack, ask, convert_triangle, inspect, run, triangle

PORT = 18083


@pytest.fixture(scope="module")
def scripted(tree, image, tmp_path_factory):
    """A fresh copy of the project, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("scripts") / "a project"
    shutil.copytree(tree, folder, ignore=shutil.ignore_patterns("secrets", ".env.production"))
    stack = Stack(folder, "meshgate-test-scripts", ["docker-compose.prod.yml"])
    yield stack
    stack.compose("down --volumes --timeout 5", check=False)


def settings(stack: Stack, *lines: str) -> None:
    text = "".join(f"{line}\n" for line in (f"HTTP_PORT={PORT}", "WORKER_MEMORY_LIMIT=2G", *lines))
    (stack.folder / ".env.production").write_text(text)


def script(stack: Stack, name: str, elsewhere, check: bool = True):
    return stack.shell(f"'{stack.folder}/scripts/{name}'", check=check, timeout=COMPILING, folder=elsewhere)


def test_production_starts_with_one_command(scripted, tmp_path):
    keys = scripted.folder / "secrets/api_keys"
    keys.parent.mkdir()
    keys.write_text("studio:0123456789abcdef0123456789abcdef\n")
    # The next start has no keys, and may answer with results of a key's owner.
    settings(scripted, "GUNICORN_WORKERS=1", "API_KEYS_SECRET=./secrets/api_keys", "CACHE_SCOPE=shared")
    done = script(scripted, "prod.sh", tmp_path)
    assert f"http://localhost:{PORT} " in done.stdout.splitlines()[-1], done.stdout
    # The script waited until ready: the very first request is answered, with these settings.
    health = ask(PORT, "/health").json()
    assert (health["status"], health["engine"]["workers"], health["redis"]["status"]) == ("healthy", 1, "ok"), health
    assert all(scripted.is_healthy(service) for service in ("nginx", "api", "redis", "redis-jobs"))
    # Different passwords were generated, in a folder that other users cannot read.
    assert keys.parent.stat().st_mode & 0o077 == 0
    passwords = [(keys.parent / name).read_text() for name in ("redis_password", "grafana_password")]
    assert len(set(passwords)) == 2 and all(len(password) == 48 for password in passwords)
    # API keys are mounted as a file and not set in the environment.
    assert convert_triangle(PORT).problem()["code"] == "unauthorized"
    key = keys.read_text().strip().split(":")[1]
    path = "/convert?output_format=fbx&filename=a.obj"
    assert ask(PORT, path, triangle(), Authorization=f"Bearer {key}").status == 200
    assert key not in inspect(scripted.container("api"), "{{json .Config.Env}}")


def test_restarting_with_new_settings_keeps_data_and_passwords(scripted, tmp_path):
    passwords = {path: path.read_text() for path in (scripted.folder / "secrets").iterdir()}
    settings(scripted, "GUNICORN_WORKERS=2")
    script(scripted, "prod.sh", tmp_path)
    assert ask(PORT, "/health").json()["engine"]["workers"] == 2
    assert convert_triangle(PORT).header("meshgate-cache") == "hit"
    assert {path: path.read_text() for path in passwords} == passwords


def test_a_failed_start_shows_the_cause(scripted, tmp_path):
    settings(scripted, "GUNICORN_WORKERS=many")
    done = script(scripted, "prod.sh", tmp_path, check=False)
    assert done.returncode != 0
    words = done.stderr.splitlines()
    at = next((number for number, line in enumerate(words) if line.startswith("--- api is ")), None)
    assert at is not None and any("GUNICORN_WORKERS takes" in line for line in words[at:]), done.stderr
    # Healthy services are not listed.
    assert not any(line.startswith("--- redis") for line in words), done.stderr
    assert "Meshgate is at" not in done.stdout


def test_production_stops_with_one_command(scripted, tmp_path):
    done = script(scripted, "stop-prod.sh", tmp_path)
    assert scripted.compose("ps --all --quiet").stdout == ""
    networks = run("docker", "network", "ls", "--format", "{{.Name}}").stdout.split()
    assert not [name for name in networks if name.startswith(f"{scripted.name}_")]
    kept = set(run("docker", "volume", "ls", "--quiet").stdout.split())
    assert {f"{scripted.name}_{volume}" for volume in ("data", "jobs", "logs")} <= kept
    assert "stopped" in done.stdout
    # Stopping again is harmless.
    script(scripted, "stop-prod.sh", tmp_path)


def test_scripts_report_a_missing_docker_engine(scripted, tmp_path):
    nowhere = Stack(scripted.folder, scripted.name, variables={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    for name in ("dev.sh", "prod.sh", "stop-prod.sh"):
        done = script(nowhere, name, tmp_path, check=False)
        assert done.returncode != 0 and "docker does not answer" in done.stderr, (name, done)
