"""What sets the number of pods of gateways and workers."""

import subprocess
from pathlib import Path

import pytest
import yaml
from kit import TOOLS, objects, sets

BUCKET = ["mode=distributed", "storage.url=s3://b"]
OURS = 'namespace="models",service="m-meshgate-metrics"'
SCALED = "ScaledObject/m-meshgate-worker"


def triggers(*values: str) -> dict[str, dict]:
    """The triggers of KEDA for workers, by name."""
    found = objects(*sets(*BUCKET, "keda.enabled=true", *values))
    return {each["name"]: each["metadata"] for each in found[SCALED]["spec"]["triggers"]}


def process(instance: str, **metrics: float) -> dict[str, float]:
    """Metrics of a process, such as `jobs__queued=3` for `meshgate_jobs{state="queued"}`."""
    series = {}
    for name, value in metrics.items():
        metric, _, state = name.partition("__")
        labels = f'{OURS},instance="{instance}"' + (f',state="{state}"' if state else "")
        series[f"meshgate_{metric}{{{labels}}}"] = value
    return series


def assert_value(folder: Path, query: str, series: dict[str, float], value: float | None) -> None:
    """Asserts what Prometheus answers to a query; `None` is no answer."""
    if not (TOOLS / "promtool").exists():
        pytest.skip("promtool is missing")
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": f"{number}x5"} for name, number in series.items()],
        "promql_expr_test": [
            {
                "expr": query,
                "eval_time": "1m",
                "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
            }
        ],
    }
    (folder / "test.yml").write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}))
    command = [str(TOOLS / "promtool"), "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_jobs_count_once_however_many_processes_report_them(tmp_path):
    query = triggers()["jobs"]["query"]
    series = {}
    for instance in ("gateway-1", "gateway-2", "worker-1"):
        series |= process(instance, jobs__queued=6, jobs__running=4, jobs__succeeded=1000)
    assert_value(tmp_path, query, series, 10)
    # Those of another release do not count.
    other = {name.replace("models", "others"): 50 for name in series}
    assert_value(tmp_path, query, series | other, 10)
    assert_value(tmp_path, query, other, None)


def test_jobs_that_run_as_kubernetes_jobs_need_no_worker(tmp_path):
    query = triggers("kubernetesJobs.mode=auto")["jobs"]["query"]
    series = {}
    for instance in ("worker-1", "worker-2"):
        series |= process(instance, jobs__queued=6, jobs__running=4)
    assert_value(tmp_path, query, series, 10)
    for instance in ("worker-1", "worker-2"):
        series |= process(instance, kubernetes_jobs__pending=1, kubernetes_jobs__running=2, kubernetes_jobs__failed=9)
    assert_value(tmp_path, query, series, 7)
    fewer = process("worker-1", jobs__queued=0, jobs__running=1, kubernetes_jobs__running=2)
    assert_value(tmp_path, query, fewer, 0)


def test_a_long_wait_adds_a_quarter_of_the_workers_that_are_ready(tmp_path):
    metadata = triggers("workers=4", "keda.maxWait=120")["wait"]
    assert metadata["threshold"] == "4"

    def series(waited: float) -> dict[str, float]:
        found = process("gateway-1", jobs_oldest_queued_seconds=waited, ready=1, engine_slots__busy=0)
        for instance, ready in (("worker-1", 1), ("worker-2", 1), ("worker-3", 0)):
            found |= process(instance, jobs_oldest_queued_seconds=waited, ready=ready)
            found |= process(instance, engine_slots__busy=3, engine_slots__free=1)
        return found

    # Two workers of four slots are ready; the third one, which starts, must not be answered with a fourth one.
    assert_value(tmp_path, metadata["query"], series(121), 1.25 * 2 * 4)
    assert_value(tmp_path, metadata["query"], series(120), 0)


def test_unknown_numbers_of_jobs_remove_no_worker():
    assert {metadata["ignoreNullValues"] for metadata in triggers().values()} == {"false"}


def test_triggers_can_be_changed_or_left_out():
    assert triggers()["jobs"]["threshold"] == "2"
    assert triggers("keda.threshold=5")["jobs"]["threshold"] == "5"
    assert triggers("keda.query=up")["jobs"]["query"] == "up"
    assert "wait" not in triggers("keda.maxWait=0")


def test_keda_scales_workers_only():
    found = objects(*sets(*BUCKET, "keda.enabled=true", "gateway.autoscaling.enabled=true", "guaranteed=true"))
    assert found[SCALED]["spec"]["scaleTargetRef"] == {"name": "m-meshgate-worker"}
    assert "replicas" not in found["Deployment/m-meshgate-worker"]["spec"]
    scalers = [name for name in found if name.split("/")[0] in ("ScaledObject", "HorizontalPodAutoscaler")]
    assert sorted(scalers) == ["HorizontalPodAutoscaler/m-meshgate-gateway", SCALED]


def test_workers_come_quickly_and_go_slowly():
    found = objects(*sets(*BUCKET, "keda.enabled=true"))
    behavior = found[SCALED]["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    by_hand = objects(*sets(*BUCKET, "worker.autoscaling.enabled=true", "guaranteed=true"))
    assert behavior == by_hand["HorizontalPodAutoscaler/m-meshgate-worker"]["spec"]["behavior"]
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 120}]
    assert {"type": "Percent", "value": 100, "periodSeconds": 60} in behavior["scaleUp"]["policies"]
    own = objects(*sets(*BUCKET, "keda.enabled=true", "keda.behavior.scaleDown.stabilizationWindowSeconds=7"))
    behavior = own[SCALED]["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior == {"scaleDown": {"stabilizationWindowSeconds": 7}}


def test_workers_can_follow_processor_time_or_a_metric_of_an_adapter():
    def metrics(*values: str) -> list[dict]:
        found = objects(*sets(*BUCKET, "worker.autoscaling.enabled=true", *values))
        assert "replicas" not in found["Deployment/m-meshgate-worker"]["spec"]
        assert found["Deployment/m-meshgate-gateway"]["spec"]["replicas"] == 2
        return found["HorizontalPodAutoscaler/m-meshgate-worker"]["spec"]["metrics"]

    [metric] = metrics("guaranteed=true", "worker.autoscaling.targetCPUUtilizationPercentage=60")
    target = {"type": "Utilization", "averageUtilization": 60}
    assert metric == {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    [metric] = metrics("worker.autoscaling.metrics[0].type=External")
    assert metric == {"type": "External"}
