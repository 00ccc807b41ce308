"""That the suite sees what it is there to see."""

import os
import signal
import threading
import time

import pytest


def test_a_server_that_stands_still_is_seen(gateway):
    """A stopped process is what a blocked one looks like to a client."""

    def stop() -> None:
        os.kill(gateway.process.pid, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(gateway.process.pid, signal.SIGCONT)

    with pytest.raises(AssertionError, match="/livez took"), gateway.watched():
        stopping = threading.Thread(target=stop)
        stopping.start()
        stopping.join()
