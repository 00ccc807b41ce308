"""Checks that the suite detects a blocked server."""

import os
import signal
import threading
import time

import pytest


def test_a_stopped_server_is_detected(gateway):
    """To a client, a stopped process looks like a blocked one."""

    def stop() -> None:
        os.kill(gateway.process.pid, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(gateway.process.pid, signal.SIGCONT)

    with pytest.raises(AssertionError, match="/livez took"), gateway.watched():
        stopping = threading.Thread(target=stop)
        stopping.start()
        stopping.join()
