"""The overlays in k8s/ match the chart's manifests for the same values."""

import json
import subprocess

import pytest
import yaml
from kit import KUBERNETES, ROOT, TOOLS, check_schema, objects, sets

REPLICATED = [
    "replicaCount=3",
    "storage.url=s3://my-bucket/meshgate",
    "storage.existingSecret=meshgate-storage",
    "config.AWS_REGION=eu-central-1",
    "externalRedis.host=my-redis.example.org",
    "externalRedis.existingSecret=meshgate-redis",
    "externalRedisJobs.url=redis://my-jobs-redis.example.org:6379/0",
    "externalRedisJobs.existingSecret=meshgate-redis-jobs",
]
OVERLAYS = {"single": [], "replicated": sets(*REPLICATED)}
# Only in a release: generated secrets (created by hand for overlays) and the objects of `helm test`.
ONLY_IN_THE_CHART = {
    "Secret/meshgate-redis",
    "Secret/meshgate-redis-jobs",
    "Pod/meshgate-test",
    "NetworkPolicy/meshgate-test",
}


def built(overlay: str) -> dict[str, dict]:
    """The objects of an overlay by kind and name, without the checksum in ConfigMap names."""
    command = [str(TOOLS / "kubectl"), "kustomize", str(ROOT / "k8s/overlays" / overlay)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    found = {}
    for document in yaml.safe_load_all(text):
        if document["kind"] == "ConfigMap":
            document["metadata"]["name"] = document["metadata"]["name"].rsplit("-", 1)[0]
        found[f"{document['kind']}/{document['metadata']['name']}"] = document
    return found


def without_labels(thing):
    """Removes labels, which differ: the chart's contain the release name."""
    if isinstance(thing, list):
        # The order of volumes and mounts is irrelevant.
        return sorted((without_labels(item) for item in thing), key=lambda item: json.dumps(item, sort_keys=True))
    if isinstance(thing, dict):
        return {name: without_labels(value) for name, value in thing.items() if name != "labels"}
    return thing


def what_matters(name: str, thing: dict) -> dict:
    kind = name.split("/")[0]
    if kind == "Ingress":
        return without_labels({"annotations": thing["metadata"]["annotations"], "spec": thing["spec"]})
    thing = without_labels(thing)
    if kind in ("Deployment", "StatefulSet"):
        thing["spec"]["template"].pop("metadata", None)
        for container in thing["spec"]["template"]["spec"]["containers"]:
            # The chart sets settings in the pod, an overlay in a ConfigMap whose name changes with them.
            for settings in ("env", "envFrom"):
                container.pop(settings, None)
    if kind == "NetworkPolicy":
        # The pod of `helm test`.
        for rule in thing["spec"]["ingress"]:
            rule["from"] = [source for source in rule["from"] if "'test'" not in str(source)]
    return {name: value for name, value in thing.items() if name != "metadata"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_match_the_chart(overlay):
    of_chart = objects(*OVERLAYS[overlay], name="meshgate")
    of_overlay = built(overlay)
    told = of_overlay.pop("ConfigMap/meshgate")["data"]
    assert of_overlay.keys() == of_chart.keys() - ONLY_IN_THE_CHART
    container = of_chart["Deployment/meshgate"]["spec"]["template"]["spec"]["containers"][0]
    assert told == {variable["name"]: variable["value"] for variable in container["env"]}
    for name, thing in of_overlay.items():
        assert what_matters(name, thing) == what_matters(name, of_chart[name]), name


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_overlays_are_valid_for_every_kubernetes_version(overlay, kubernetes, tmp_path):
    check_schema(list(built(overlay).values()), kubernetes, tmp_path)
