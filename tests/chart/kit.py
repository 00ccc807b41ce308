"""The chart, rendered by both versions of Helm."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "meshgate"
TOOLS = ROOT / "target" / "tools"
HELMS = ["helm", "helm3"]
# The oldest and the newest supported version.
KUBERNETES = ["1.28", "1.37"]
CASES = sorted((CHART / "ci").glob("*-values.yaml"))


def helm(*arguments: str, version: str = "helm") -> subprocess.CompletedProcess:
    command = [str(TOOLS / version), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def sets(*values: str) -> list[str]:
    """`--set` arguments for values such as `replicaCount=3`."""
    return [part for value in values for part in ("--set", value)]


def check_schema(found: list[dict], kubernetes: str, folder: Path) -> None:
    """Checks that this version of Kubernetes knows every field of these objects."""
    manifests = folder / "manifests.yaml"
    manifests.write_text(yaml.safe_dump_all(found))
    validate = Path(sys.executable).with_name("kubernetes-validate")
    command = [validate, "--strict", "--kubernetes-version", kubernetes, manifests]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def rendered(*arguments: str, version: str = "helm", name: str = "m") -> str:
    """The manifests of a release `name`; `arguments` go to `helm template`."""
    done = helm("template", name, str(CHART), "--namespace", "models", *arguments, version=version)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(*arguments: str, **options) -> dict[str, dict]:
    """The rendered objects by kind and name, such as `Deployment/m-meshgate`."""
    found = [document for document in yaml.safe_load_all(rendered(*arguments, **options)) if document]
    return {f"{document['kind']}/{document['metadata']['name']}": document for document in found}


def pods(found: dict[str, dict]) -> dict[str, dict]:
    """The specifications of all pods."""
    specifications = {}
    for name, thing in found.items():
        if thing["kind"] in ("Deployment", "StatefulSet"):
            specifications[name] = thing["spec"]["template"]["spec"]
        elif thing["kind"] == "Pod":
            specifications[name] = thing["spec"]
    return specifications


def settings(found: dict[str, dict], deployment: str = "m-meshgate") -> dict[str, str]:
    """The settings in a Deployment's pods, without those that Kubernetes fills in."""
    container = pods(found)[f"Deployment/{deployment}"]["containers"][0]
    return {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}


def refusal(*arguments: str, version: str = "helm") -> str:
    """The error message for refused values."""
    done = helm("template", "m", str(CHART), *arguments, version=version)
    assert done.returncode != 0, "it was taken"
    return re.sub(r"\s+", " ", done.stderr)


def mebibytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) * (1024 if unit == "Gi" else 1)
