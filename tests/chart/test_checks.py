"""The chart passes third-party checks."""

import json
import subprocess

import pytest
from kit import CASES, CHART, TOOLS, rendered

# kube-score checks that this chart ignores, with reasons.
EXCEPTIONS = {
    "container-resources": "limits on processor time throttle a conversion while its node is idle; memory is limited",
    "container-image-pull-policy": "images are named by version or digest; a cluster without a registry loads them",
    "container-security-context-user-group-id": "the group is 0 as OpenShift wants it; the official Redis is 999",
    "deployment-replicas": "one pod is right for a store that only one pod can have",
    "deployment-strategy": "two pods cannot have one ReadWriteOnce claim: the old one has to go first",
    "pod-networkpolicy": "the values of `bare` turn it off",
    "statefulset-has-servicename": "Redis is one pod behind a Service whose address stays while its pod is replaced",
    "networkpolicy-targets-pod": "workers create the pods of Kubernetes Jobs, the chart only their template",
    "pod-probes-identical": "a Redis that answers nothing gets no work, and is started again later",
    "deployment-has-host-podantiaffinity": "topologySpreadConstraints ask for it",
}
# Containers that the values of extras-values.yaml add.
ADDED = {"beside", "hello"}


def tool(name: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess:
    if not (TOOLS / name).exists():
        pytest.skip(f"{name} is built with Go, which is not here")
    command = [str(TOOLS / name), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)


def test_helm_unittest_passes():
    done = tool("helm-unittest", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_kube_score_finds_only_the_documented_exceptions():
    found = {}
    for case in CASES:
        score = ["score", "--kubernetes-version", "v1.37", "--output-format", "json", "-"]
        done = tool("kube-score", *score, text=rendered("--values", str(case)))
        for thing in json.loads(done.stdout):
            for check in thing["checks"]:
                told = [comment for comment in check["comments"] or [] if comment["path"] not in ADDED]
                if told and not check["skipped"] and check["grade"] < 7:
                    found.setdefault(check["check"]["id"], {})[f"{case.stem} {thing['object_name']}"] = told
    new = {check: things for check, things in found.items() if check not in EXCEPTIONS}
    assert not new, json.dumps(new, indent=1)
    assert found.keys() == EXCEPTIONS.keys(), "an exception that nothing needs any longer"
