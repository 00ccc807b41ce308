"""Tests on a running cluster: `scripts/test-cluster.sh` starts one and loads the images."""

import sys
from pathlib import Path

import pytest

# Helpers for waiting, requests and models come from the image tests.
sys.path.append(str(Path(__file__).resolve().parents[1] / "deploy"))

from cluster import kubectl, namespace


@pytest.fixture(scope="session", autouse=True)
def images():
    """Waits until the nodes, which have the images, are ready."""
    kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")


@pytest.fixture(scope="module")
def models():
    """A namespace that enforces the pod security standard `restricted`."""
    with namespace("models", restricted=True):
        yield "models"
