"""Measures the chart on a cluster; `make bench-cluster` writes it into docs/BENCHMARKS.md.

Compared setups are measured alternately in one run. `scripts/test-cluster.sh` starts the cluster and loads the images.
"""

import concurrent.futures
import re
import statistics
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "deploy"))

import kit
from cluster import INGRESS_PORT, Load, Release, kubectl, namespace
from kit import until, write_section

HEADING = "On Kubernetes"
CLIENTS = 4
SECONDS = 8
ROUNDS = 5
SPACE = "bench"
# Small pods with one worker each, without rate limits and without stored results.
SMALL = [
    "workers=1", "workerMemoryLimit=1536Mi", "resources.requests.memory=384Mi", "resources.requests.cpu=50m",
    "config.RATE_LIMIT_REQUESTS=0", "config.QUEUE_LIMIT=32",
]  # fmt: skip


def rate(host: str, port: int, clients: int = CLIENTS) -> float:
    return kit.rate(host, port, clients, SECONDS, Cache_Control="no-cache")


def memory(component: str) -> int:
    """The largest memory use of a pod of this kind in MiB, from the kubelet; 0 while unknown."""
    selector = f"app.kubernetes.io/component={component}"
    lines = kubectl("-n", SPACE, "top", "pod", "--no-headers", "-l", selector, check=False).splitlines()
    return max((int(re.search(r"(\d+)Mi", line)[1]) for line in lines), default=0)


def memories() -> dict[str, int]:
    """The memory use of each kind of pod; empty until all are known."""
    found = {one: memory(one) for one in ("server", "redis")}
    return found if all(found.values()) else {}


def processor_times() -> tuple[int, int]:
    """The time of all processors since the machine started, and the idle part of it, in ticks."""
    times = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(times), times[3] + times[4]


def one_pod() -> list[tuple[str, str, str]]:
    rows = []
    began = time.monotonic()
    release = Release(SPACE, values=["config.RATE_LIMIT_REQUESTS=0"])
    release.put("install")
    release.converts()
    rows.append(
        ("`helm install` with nothing set to the first converted file", f"{time.monotonic() - began:.1f} s", "")
    )
    # The kubelet measures memory at intervals.
    idle = until("the kubelet has measured", memories, 120)
    address = release.pods()[0]["status"]["podIP"]
    rates = [(rate("127.0.0.1", INGRESS_PORT), rate(address, 5000)) for _ in range(ROUNDS)]
    through, direct = (statistics.median(each) for each in zip(*rates, strict=True))
    ratio = statistics.median(one / other for one, other in rates)
    what = "small conversions by 4 clients: through the ingress / direct to the pod"
    rows.append((what, f"{through:.1f}/s / {direct:.1f}/s, ratio of alternate runs {ratio:.2f}", "≥ 0.95"))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        working = pool.submit(lambda: [rate(address, 5000) for _ in range(4)])
        time.sleep(3 * SECONDS)
        loaded = memories()
        working.result()
    rows += [
        (f"memory of the {one}'s pod, idle and at work", f"{idle[one]} MiB, {loaded[one]} MiB", "") for one in idle
    ]
    before = {pod["metadata"]["name"] for pod in release.pods()}
    with Load(release, clients=2) as load:
        time.sleep(2)
        release.put("upgrade", "config.LOG_LEVEL=debug")
        release.rolled_out()
        release.is_served()
        # A gap between answers counts once it has ended.
        answered = len(load.answers)
        until("both clients have answers again", lambda: 200 in [one for _, one in load.answers[answered + 2 :]])
    assert before.isdisjoint(pod["metadata"]["name"] for pod in release.pods())
    rows.append(("no response while the only pod is replaced", f"{load.longest_silence():.1f} s", ""))
    release.helm("uninstall", "--wait")
    return rows


def two_pods() -> list[tuple[str, str, str]]:
    """Pods with one worker each and no store: no request repeats."""
    release = Release(SPACE, name="meshgate-two", values=[*SMALL, "persistence.enabled=false"])
    release.put("install")
    rates, busy = [], []
    for _ in range(3):
        both = []
        for count in (1, 2):
            # The chart refuses two pods without a shared store; this benchmark requests no reports.
            kubectl("-n", SPACE, "scale", "deployment/meshgate-two", f"--replicas={count}")
            release.rolled_out()
            until("as many are there", lambda count=count: len(release.pods()) == count)
            time.sleep(3)
            before, idle_before = processor_times()
            # Enough clients to keep both pods busy.
            both.append(rate("127.0.0.1", INGRESS_PORT, 3 * CLIENTS))
            after, idle_after = processor_times()
        rates.append(both)
        busy.append(1 - (idle_after - idle_before) / (after - before))
    ratio = statistics.median(two / one for one, two in rates)
    one, two = (statistics.median(each) for each in zip(*rates, strict=True))
    with Load(release) as load:
        time.sleep(2)
        kubectl("-n", SPACE, "rollout", "restart", "deployment/meshgate-two")
        release.rolled_out()
        time.sleep(2)
    failed = len(load.failures())
    release.helm("uninstall", "--wait")
    of_both = (
        f"{two:.1f}/s / {one:.1f}/s, ratio of alternate runs {ratio:.2f}; "
        f"with 2, the processors are {min(busy):.0%} busy"
    )
    return [
        ("2 pods of one worker each / 1 pod, on this machine's processors", of_both, "≥ 1.7"),
        ("requests that fail while 2 pods are replaced under load", f"{failed} of {len(load.answers)}", "0"),
        ("longest time without a response meanwhile", f"{load.longest_silence():.1f} s at most", ""),
    ]


def main() -> None:
    with namespace(SPACE, restricted=True):
        rows = one_pod() + two_pods()
    text = (
        "Written by `make bench-cluster`. Clients, ingress and the control plane share this machine's processors with\n"
    )
    text += "the pods.\n\n| what | measured | goal |\n| --- | --- | --- |\n"
    text += "".join(f"| {what} | {value} | {goal} |\n" for what, value, goal in rows)
    print(text)
    write_section(HEADING, text)


if __name__ == "__main__":
    main()
