"""An S3 server for tests. It ends when its standard input closes, so with the process that started it."""

import os
import sys
import threading

from moto.server import main


def end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_input, daemon=True).start()
main(["--host", "127.0.0.1", *sys.argv[1:]])
