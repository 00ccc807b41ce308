"""Production with Prometheus. Grafana's image is not available everywhere, so its files are checked instead."""

import json
import os
from pathlib import Path

import pytest
from kit import ROOT, Stack, ask, convert_triangle, run, until

PORT = int(os.environ.get("TEST_PROMETHEUS_PORT", "19090"))
HTTP_PORT = 18081


@pytest.fixture(scope="module")
def watched(tree, image):
    (tree / "secrets").mkdir(exist_ok=True)
    for name in ("redis_password", "grafana_password"):
        (tree / "secrets" / name).write_text("0123456789abcdef\n")
    variables = {"PROMETHEUS_PORT": str(PORT), "HTTP_PORT": str(HTTP_PORT)}
    stack = Stack(
        tree, "meshgate-test-watch", ["docker-compose.prod.yml", "docker-compose.observability.yml"], variables
    )
    stack.compose("up -d --no-build --wait nginx prometheus")
    yield stack
    stack.compose("down --volumes --timeout 5", check=False)


def test_prometheus_scrapes_metrics_and_loads_the_alerts(watched):
    assert convert_triangle(HTTP_PORT).status == 200

    def found():
        answer = ask(PORT, "/api/v1/query?query=meshgate_conversions_total").json()
        return answer["data"]["result"]

    result = until("a conversion was scraped", found)
    assert result[0]["metric"]["job"] == "meshgate", result
    groups = ask(PORT, "/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {"MeshgateNotReady", "MeshgateConversionsFail"} <= {rule["name"] for rule in rules}
    assert all(rule["health"] in ("ok", "unknown") for rule in rules), rules
    # nginx still does not serve the metrics.
    assert ask(HTTP_PORT, "/metrics").status == 404


def test_grafana_mounts_existing_files(watched):
    shown = json.loads(watched.compose("config --format json").stdout)
    mounts = shown["services"]["grafana"]["volumes"]
    sources = {mount["target"]: mount["source"] for mount in mounts if mount["type"] == "bind"}
    assert len(sources) == 3 and all(Path(source).is_file() for source in sources.values()), sources
    provider = (ROOT / "docker/observability/grafana-dashboards.yml").read_text()
    dashboard = next(target for target in sources if target.endswith(".json"))
    assert f"path: {Path(dashboard).parent}" in provider
    if run("docker", "image", "inspect", shown["services"]["grafana"]["image"], check=False).returncode != 0:
        pytest.skip("Grafana's image is not available, so it was not started")
    watched.compose("up -d --no-build --wait grafana")
    port = shown["services"]["grafana"]["ports"][0]["published"]
    assert ask(int(port), "/api/health").json()["database"] == "ok"
