"""Sends webhooks to names whose address changes, in a network of its own, and prints as JSON what happened.

`test_webhooks.py` runs this in new namespaces for the network and for mounts:

    meshgate serve ──▶ 127.0.0.1:53   the name server, which the resolver of the system asks
                   ──▶ 127.0.0.2:80   a receiver that WEBHOOK_ALLOW names
                   ──▶ 127.0.0.1:80   a receiver that only webhooks to trusted.test may reach
"""

import fcntl
import http.server
import itertools
import json
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from kit import PROGRAM, ROOT, ask, environment, gltf, until

ALLOWED, FORBIDDEN = "127.0.0.2", "127.0.0.1"
# The addresses of each name: the first lookup gets the first list, the next one the second, then the first one again.
NAMES = {
    "allowed-first.test": [[ALLOWED], [FORBIDDEN]],
    "forbidden-first.test": [[FORBIDDEN], [ALLOWED]],
    "both.test": [[FORBIDDEN, ALLOWED]],
    # WEBHOOK_ALLOW names it, which shows that the forbidden address can be reached.
    "trusted.test": [[FORBIDDEN]],
}
# Nobody else uses a port of this network.
PORT = 5000
# A lookup is not repeated, however busy the machine is: each query is one lookup.
FILES = {
    "/etc/resolv.conf": "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n",
    "/etc/nsswitch.conf": "hosts: dns\n",
}
# From linux/sockios.h and linux/if.h.
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
# The type of a query for IPv4 addresses.
A = 1


class NameServer(socketserver.UDPServer):
    """Counts the queries for the IPv4 addresses of a name, and answers each with the next list. Others get none."""

    def __init__(self):
        super().__init__(("127.0.0.1", 53), Query)
        self.lookups = Counter()
        self.turns = {name: itertools.cycle(turns) for name, turns in NAMES.items()}

    def addresses(self, name: str, kind: int) -> list[str]:
        if kind != A or name not in NAMES:
            return []
        self.lookups[name] += 1
        return next(self.turns[name])


class Query(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        query, answering = self.request
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode())
            at += 1 + length
        (kind,) = struct.unpack_from(">H", query, at + 1)
        addresses = self.server.addresses(".".join(labels).lower(), kind)
        head = query[:2] + struct.pack(">5H", 0x8180, 1, len(addresses), 0, 0)
        # Of the name in the question; they are not to be kept.
        records = [struct.pack(">3HIH", 0xC00C, A, 1, 0, 4) + socket.inet_aton(address) for address in addresses]
        answering.sendto(head + query[12 : at + 5] + b"".join(records), self.client_address)


class Receiver(http.server.ThreadingHTTPServer):
    """Counts connections, and the names that requests were sent to."""

    def __init__(self, address: str):
        super().__init__((address, 80), Webhook)
        self.connections, self.names = 0, []

    def get_request(self):
        self.connections += 1
        return super().get_request()


class Webhook(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.names.append(self.headers["host"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


def isolate(folder: Path) -> None:
    """Turns the loopback network on, and replaces the files that the resolver of the system reads."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))
    for path, text in FILES.items():
        file = folder / Path(path).name
        file.write_text(text)
        if Path(path).exists():
            subprocess.run(["mount", "--bind", file, path], check=True)


def submit(name: str) -> str:
    """Submits a job that needs no engine, with a webhook to this name; returns its path."""
    path = f"/v1/jobs?output_format=glb&filename=a.gltf&webhook_url=http://{name}/hook"
    answer = ask(PORT, "POST", path, gltf())
    assert answer.status == 202, answer
    return answer.json()["links"]["self"]


def attempts(job: str, enough: Callable[[list[dict]], bool]) -> list[dict]:
    """Waits until enough attempts to deliver the webhook are recorded; returns them."""

    def recorded():
        found = ask(PORT, "GET", job).json()["webhook"]["deliveries"]
        return found if enough(found) else None

    return until(f"enough attempts of {job}", recorded)


def send() -> dict[str, list[dict]]:
    """Sends webhooks to all names until each is delivered, and one of them again; returns the attempts."""
    until("the server is alive", lambda: ask(PORT, "GET", "/livez").status == 200)
    jobs = {name: submit(name) for name in NAMES}
    made = {name: attempts(job, lambda found: bool(found) and "error" not in found[-1]) for name, job in jobs.items()}
    again = jobs["allowed-first.test"]
    answer = ask(PORT, "POST", f"{again}/webhook/redeliver")
    assert answer.status == 202, answer
    made["allowed-first.test"] = attempts(again, lambda found: len(found) > 1)
    return made


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="meshgate-hostile-") as folder:
        isolate(Path(folder))
        names = NameServer()
        threading.Thread(target=names.serve_forever, daemon=True).start()
        receivers = {"allowed": Receiver(ALLOWED), "forbidden": Receiver(FORBIDDEN)}
        for receiver in receivers.values():
            threading.Thread(target=receiver.serve_forever, daemon=True).start()
        variables = environment(
            folder,
            BIND_ADDRESS=f"127.0.0.1:{PORT}",
            LOG_LEVEL="warn",
            BLENDER_PYTHON="/bin/false",
            WEBHOOK_SECRET="whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            WEBHOOK_ALLOW=f"{ALLOWED}, trusted.test",
        )
        command = [PROGRAM, "serve"]
        server = subprocess.Popen(command, cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        try:
            found = {"attempts": send(), "lookups": names.lookups}
        finally:
            server.kill()
            server.wait()
        for name, receiver in receivers.items():
            found[name] = {"connections": receiver.connections, "names": receiver.names}
        print(json.dumps(found))


if __name__ == "__main__":
    main()
