"""A log whose reader is stuck."""

import re
import signal
import subprocess
import tempfile

from kit import LONG, PROGRAM, ROOT, ask, environment

LOST = re.compile(r"^meshgate_log_lines_lost_total (\d+)$", re.MULTILINE)


def test_an_unread_log_does_not_block_the_server():
    """The pipe is full after a few hundred lines; then the queue fills, and further lines are dropped and counted."""
    with tempfile.TemporaryDirectory(prefix="meshgate-hostile-") as folder:
        server = subprocess.Popen(
            [PROGRAM, "serve"],
            cwd=ROOT,
            env=environment(folder, LOG_LEVEL="trace"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            said = (re.search(r"listening.*?127\.0\.0\.1:(\d+)", line) for line in server.stdout)
            port = int(next(filter(None, said))[1])
            lost = requests = 0
            while not lost and requests < 30_000:
                for _ in range(500):
                    assert ask(port, "GET", "/nowhere").status == 404
                requests += 500
                lost = int(LOST.search(ask(port, "GET", "/metrics").body.decode())[1])
            assert lost > 0
            server.send_signal(signal.SIGTERM)
            assert server.wait(LONG) == 0
            print(f"{lost} lines were lost after {requests} requests")
        finally:
            server.kill()
            server.communicate()
