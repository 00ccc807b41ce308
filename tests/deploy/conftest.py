import os
import shutil
import subprocess

import pytest
from kit import COMPILING, IMAGE, ROOT, Stack, free, run


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """A copy of the checked-out project that tests may build and change."""
    folder = tmp_path_factory.mktemp("deploy") / "meshgate"
    names = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def image(tree):
    """The production image, built with BuildKit unless TEST_IMAGE names one."""
    if ready := os.environ.get("TEST_IMAGE"):
        run("docker", "tag", ready, IMAGE)
        return IMAGE
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    run("docker", "build", "--tag", IMAGE, ".", cwd=tree, env=environment, timeout=COMPILING)
    return IMAGE


@pytest.fixture(scope="session")
def production(tree, image):
    """Production, started as in the README; on another port if 80 is taken."""
    (tree / ".env.production").write_text("RATE_LIMIT_REQUESTS=0\n")
    port = os.environ.get("TEST_HTTP_PORT") or str(free(80, 18080))
    variables = {"HTTP_PORT": port, "WORKER_MEMORY_LIMIT": "2G"}
    stack = Stack(tree, "meshgate-test", ["docker-compose.prod.yml"], variables)
    yield stack
    subprocess.run(
        ["docker", "compose", "-f", "docker-compose.prod.yml", "down", "--volumes", "--timeout", "5"],
        cwd=tree, env=stack.environment, capture_output=True, check=False,
    )  # fmt: skip
