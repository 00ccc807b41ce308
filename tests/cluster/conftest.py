"""Tests on a cluster that is there: `scripts/test-cluster.sh` brings one up and loads the images."""

import sys
from pathlib import Path

import pytest

# Waiting, requests and models are those of the tests of images.
sys.path.append(str(Path(__file__).resolve().parents[1] / "deploy"))

from cluster import kubectl, namespace


@pytest.fixture(scope="session", autouse=True)
def images():
    """What is to be tested is in the cluster; pods of another run are not."""
    kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")


@pytest.fixture(scope="module")
def models():
    """A namespace under the strictest of Kubernetes' standards for pods."""
    with namespace("models", restricted=True):
        yield "models"
