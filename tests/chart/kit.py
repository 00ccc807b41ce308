"""The chart, rendered by both versions of Helm."""

import re
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "meshgate"
TOOLS = ROOT / "target" / "tools"
HELMS = ["helm", "helm3"]
CASES = sorted((CHART / "ci").glob("*-values.yaml"))


def helm(*arguments: str, version: str = "helm") -> subprocess.CompletedProcess:
    command = [str(TOOLS / version), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def rendered(*arguments: str, version: str = "helm", name: str = "m") -> str:
    """The manifests of a release `name`; `arguments` as those of `helm template`."""
    done = helm("template", name, str(CHART), "--namespace", "models", *arguments, version=version)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(*arguments: str, **options) -> dict[str, dict]:
    """What is rendered, by kind and name: `Deployment/m-meshgate`."""
    found = [document for document in yaml.safe_load_all(rendered(*arguments, **options)) if document]
    return {f"{document['kind']}/{document['metadata']['name']}": document for document in found}


def refusal(*arguments: str, version: str = "helm") -> str:
    """Why these values are refused."""
    done = helm("template", "m", str(CHART), *arguments, version=version)
    assert done.returncode != 0, "it was taken"
    return re.sub(r"\s+", " ", done.stderr)


def mebibytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) * (1024 if unit == "Gi" else 1)
