"""Helpers of the cluster tests: commands, chart releases, and requests through the ingress."""

import contextlib
import itertools
import json
import os
import re
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from event_stream import EventStream
from kit import ROOT, Answer, ask, run, triangle, until

CHART = str(ROOT / "charts/meshgate")
TOOLS = ROOT / "target/tools"
INGRESS_PORT = int(os.environ.get("MESHGATE_CLUSTER_HTTP_PORT", "18080"))
# The longest wait for ready pods on a busy machine.
READY = "300s"


def kubectl(*arguments: str, check: bool = True, timeout: float = 400, **options) -> str:
    return run("kubectl", *arguments, check=check, timeout=timeout, **options).stdout


def helm(*arguments: str, version: str = "helm", check: bool = True):
    return run(str(TOOLS / version), *arguments, check=check, timeout=600)


# The folder of the test cluster, which tells the processes of its components.
STATE = Path(os.environ.get("MESHGATE_CLUSTER_STATE", "/var/lib/meshgate-cluster"))


def start_time(pid: str) -> str:
    """When a process was started, in ticks: tells it from a later one with the same number."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]


@contextlib.contextmanager
def api_server_away():
    """Kills the API server of the test cluster, and starts it again at the end."""
    record = STATE / "pids/kube-apiserver"
    if not record.is_file():
        pytest.skip("the process of the API server is not known")
    pid, started = record.read_text().split()
    assert start_time(pid) == started, "the API server does not run"
    process = Path("/proc", pid)
    command = os.fsdecode((process / "cmdline").read_bytes()).rstrip("\0").split("\0")
    assert command[0].endswith("kube-apiserver"), command
    variables = os.fsdecode((process / "environ").read_bytes()).rstrip("\0").split("\0")
    environment = dict(variable.split("=", 1) for variable in variables)
    folder = os.readlink(process / "cwd")

    def is_ready() -> bool:
        return kubectl("get", "--raw", "/readyz", check=False) == "ok"

    os.kill(int(pid), signal.SIGKILL)
    try:
        until("the API server is away", lambda: not is_ready())
        yield
    finally:
        start = 'setsid "$@" >>"$0" 2>&1 </dev/null & echo $!'
        log = str(STATE / "logs/kube-apiserver.log")
        new = run("bash", "-c", start, log, *command, env=environment, cwd=folder).stdout.strip()
        record.write_text(f"{new} {start_time(new)}\n")
        until("the API server is ready", is_ready)
        kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")


@contextlib.contextmanager
def namespace(name: str, restricted: bool = False):
    kubectl("create", "namespace", name)
    try:
        if restricted:
            kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        yield
    finally:
        kubectl("delete", "namespace", name, "--wait", "--timeout=120s", check=False)


def apply(space: str, *objects: dict) -> None:
    kubectl("-n", space, "apply", "-f", "-", input=yaml.safe_dump_all(objects), stdin=None)


def get(space: str, kind: str, *names: str, selector: str = "") -> list[dict]:
    by_label = ["-l", selector] if selector else []
    found = json.loads(kubectl("-n", space, "get", kind, *names, *by_label, "-o", "json"))
    return found.get("items", [found])


@dataclass
class Store:
    """The bucket of the tests."""

    address: str

    def of(self, space: str) -> list[str]:
        """Puts its keys into a namespace; returns the values of a release there that uses it."""
        keys = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "of-tests"}
        apply(space, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bucket"}, "stringData": keys})
        return [
            "storage.url=s3://results/meshgate", "storage.existingSecret=bucket",
            f"config.AWS_ENDPOINT_URL={self.address}", "config.AWS_REGION=eu-west-1", "config.AWS_ALLOW_HTTP=true",
        ]  # fmt: skip


@dataclass
class Release:
    """An installed release of the chart."""

    space: str
    host: str = "any.test"
    name: str = "meshgate"
    version: str = "helm"
    values: list[str] = field(default_factory=list)

    def helm(self, verb: str, *arguments: str, check: bool = True):
        return helm(verb, self.name, *arguments, "-n", self.space, version=self.version, check=check)

    def left_by_uninstalling(self) -> set[str]:
        """Uninstalls; returns what is left in the namespace, except what Kubernetes itself puts there."""
        self.helm("uninstall", "--wait")
        kinds = "deploy,sts,rs,pods,svc,cm,secret,sa,ingress,netpol,pdb,pvc,hpa,role,rolebinding,jobs"
        pods_and_jobs = "-n", self.space, "get", "pods,jobs", "-o", "name"
        until("pods are gone", lambda: not kubectl(*pods_and_jobs), 120)
        found = set(kubectl("-n", self.space, "get", kinds, "-o", "name").split())
        return found - {"configmap/kube-root-ca.crt", "serviceaccount/default"}

    def put(self, verb: str, *values: str, wait: bool = True) -> str:
        """Installs or upgrades, and waits until the ingress serves the release."""
        given = [part for value in (*self.values, *values) for part in ("--set", value)]
        waiting = ["--wait", "--timeout", READY] if wait else []
        said = self.helm(verb, CHART, *given, *waiting).stdout
        if wait:
            self.is_served()
        return said

    def is_served(self) -> None:
        """Waits until the ingress routes to the release."""
        until("the ingress routes to it", lambda: self.ask("/livez").status == 200, 30)

    def pods(self, component: str = "server") -> list[dict]:
        """Its pods, except terminating ones."""
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"
        found = get(self.space, "pods", selector=selector)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def restarts(self) -> int:
        return sum(status["restartCount"] for pod in self.pods() for status in pod["status"]["containerStatuses"])

    def deployment(self, role: str = "") -> str:
        """The Deployment of a role, or the one of a release without roles."""
        return f"deployment/{self.name}-{role}" if role else f"deployment/{self.name}"

    def rolled_out(self, timeout: str = READY, role: str = "") -> None:
        kubectl("-n", self.space, "rollout", "status", self.deployment(role), f"--timeout={timeout}")

    def said(self, role: str = "") -> str:
        """The log of one of its pods."""
        return kubectl("-n", self.space, "logs", self.deployment(role), check=False)

    def inside(self, *command: str, role: str = "", check: bool = True) -> str:
        return kubectl("-n", self.space, "exec", self.deployment(role), "--", *command, check=check)

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """A request through the ingress."""
        return ask(INGRESS_PORT, path, body, Host=self.host, **headers)

    def follow(self, path: str, **headers: str) -> EventStream:
        """The events of a job, through the ingress."""
        return EventStream(INGRESS_PORT, path, Host=self.host, **headers)

    def convert(self, target: str, body: bytes, name: str, **headers: str) -> Answer:
        return self.ask(f"/convert?output_format={target}&filename={name}", body, **headers)

    def submit(self, target: str, body: bytes, name: str, **query: str) -> str:
        """The path of a new job."""
        more = "".join(f"&{key}={value}" for key, value in query.items())
        answer = self.ask(f"/v1/jobs?output_format={target}&filename={name}{more}", body, Cache_Control="no-cache")
        assert answer.status == 202, answer
        return answer.header("location")

    def converts(self) -> None:
        answer = self.convert("fbx", triangle(), "a.obj", Cache_Control="no-cache")
        assert answer.status == 200, answer


@dataclass
class Load:
    """Clients that convert repeatedly until stopped; failures are recorded."""

    release: Release
    clients: int = 4
    answers: list[tuple[float, int | str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def _ask(self, number: int) -> None:
        turn = 0
        while not self.over.is_set():
            turn += 1
            model = triangle(number * 10_000 + turn)
            try:
                answer = self.release.convert("fbx", model, "a.obj", Cache_Control="no-cache").status
            except OSError as error:
                answer = repr(error)
            self.answers.append((time.monotonic(), answer))
            if answer != 200:
                time.sleep(0.05)

    def __enter__(self):
        self.threads = [threading.Thread(target=self._ask, args=[number]) for number in range(self.clients)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def failures(self) -> list[int | str]:
        return [answer for _, answer in self.answers if answer != 200]

    def longest_silence(self) -> float:
        """The longest time between two answers of the server, in seconds."""
        own = sorted(moment for moment, answer in self.answers if answer in (200, 401))
        return max((later - earlier for earlier, later in itertools.pairwise(own)), default=float("inf"))


def metrics(pod: dict) -> dict[str, float]:
    """The metrics of a pod by their names with labels, such as `meshgate_jobs{state="queued"}`."""
    text = ask(9464, "/metrics", host=pod["status"]["podIP"]).body.decode()
    return {name: float(value) for name, value in re.findall(r"^(meshgate_\S+) (\S+)$", text, re.MULTILINE)}


def kill(pod: dict, space: str) -> None:
    """Kills the program in a pod, as a failure would: it gets no time to stop."""
    # The first process is an init process, which nobody can kill from inside. The command may end with the container.
    command = "kill -9 $(cat /proc/1/task/1/children)"
    kubectl("-n", space, "exec", pod["metadata"]["name"], "--", "sh", "-c", command, check=False)


BONES = """HIERARCHY
ROOT a
{
OFFSET 0 0 0
CHANNELS 3 Zrotation Xrotation Yrotation
JOINT b
{
OFFSET 0 1 0
CHANNELS 3 Zrotation Xrotation Yrotation
End Site
{
OFFSET 0 1 0
}
}
}
MOTION
"""


def motion(number: int, frames: int = 60_000) -> bytes:
    """A BVH whose conversion takes six seconds of processor time, and less than 2 GiB of memory."""
    moves = "".join(f"{frame % 97} {number} {frame % 89} 0 {frame % 83} 0\n" for frame in range(frames))
    return f"{BONES}Frames: {frames}\nFrame Time: 0.033333\n{moves}".encode()


def pod(name: str, image: str, *command: str, labels: dict | None = None, **container) -> dict:
    """A pod with one unprivileged container."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": name,
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": list(command),
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    **container,
                }
            ],
        },
    }


def image() -> str:
    """The production image, as the chart names it."""
    version = yaml.safe_load((Path(CHART) / "Chart.yaml").read_text())["appVersion"]
    return f"meshgate:{version}"


# Prints whether a connection succeeds within three seconds.
REACHES = (
    "import socket, sys\n"
    "try:\n"
    "    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()\n"
    "    print('reached')\n"
    "except OSError as error:\n"
    "    print('not reached', error)\n"
)
