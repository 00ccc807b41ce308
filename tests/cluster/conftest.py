"""Tests on a running cluster: `scripts/test-cluster.sh` starts one and loads the images."""

import sys
import urllib.request
from pathlib import Path

import pytest

# Helpers for waiting, requests and models come from the image tests.
sys.path.append(str(Path(__file__).resolve().parents[1] / "deploy"))

from cluster import Store, apply, get, kubectl, namespace, pod
from kit import until


@pytest.fixture(scope="session", autouse=True)
def images():
    """Waits until the nodes, which have the images, are ready."""
    kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")


@pytest.fixture(scope="module")
def models():
    """A namespace that enforces the pod security standard `restricted`."""
    with namespace("models", restricted=True):
        yield "models"


@pytest.fixture(scope="module")
def store():
    """An S3 server with a bucket."""
    with namespace("store"):
        apply("store", pod("moto", "meshgate-moto:test", labels={"app": "moto"}),
              {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "moto"},
               "spec": {"selector": {"app": "moto"}, "ports": [{"port": 5001}]}})  # fmt: skip
        kubectl("-n", "store", "wait", "--for=condition=Ready", "pod/moto", "--timeout=120s")
        address = get("store", "pod", "moto")[0]["status"]["podIP"]
        bucket = urllib.request.Request(f"http://{address}:5001/results", b"", method="PUT")
        until("there is a bucket", lambda: urllib.request.urlopen(bucket, timeout=10).status == 200, 60)
        yield Store("http://moto.store.svc.cluster.local:5001")
