"""Request bodies that never end."""

import contextlib
import os
import socket
import threading
import time

from kit import at_once, until

BATCH = 128 << 10
CONVERT = "POST /convert?output_format=stl&filename=a.obj HTTP/1.1\r\nhost: a\r\n"


def begin(gateway, headers: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(f"{CONVERT}{headers}\r\n\r\n".encode())
    return connection


def status(connection: socket.socket) -> int:
    """The status of the next answer, or 0 if there is none."""
    with contextlib.suppress(OSError):
        return int(connection.recv(4096)[9:12] or 0)
    return 0


def test_one_byte_chunks_take_no_extra_memory(gateway):
    """Each chunk once kept a connection buffer: 60 MB for 131 kB sent byte by byte."""
    # Small enough to stay in memory.
    length = BATCH - 100
    with gateway.watched():
        before = gateway.state().memory
        gateway.peak_memory()
        chunked = [begin(gateway, "transfer-encoding: chunked") for _ in range(16)]
        for connection in chunked:
            connection.sendall(b"1\r\n#\r\n" * length)
        plain = [begin(gateway, f"content-length: {BATCH}") for _ in range(8)]

        def dribble(connection: socket.socket) -> None:
            for _ in range(length):
                connection.send(b"#")

        threads = [threading.Thread(target=dribble, args=(connection,)) for connection in plain]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        all_is_read(gateway)
        grown = gateway.peak_memory() - before
        for connection in chunked + plain:
            connection.close()
    # Connection buffers, and memory that the allocator keeps.
    assert grown < 40 << 20, f"{grown >> 10} kB for {24 * length >> 10} kB"


def all_is_read(gateway) -> None:
    """Waits until the server only answers probes."""

    def rests() -> bool:
        before = gateway.processor_seconds()
        time.sleep(0.5)
        return gateway.processor_seconds() - before < 0.1

    until("all is read", rests)


def test_a_fast_start_does_not_extend_the_read_timeout(start):
    """90 MB sent at once correspond to 25 hours at the slowest allowed speed."""
    gateway = start(READ_TIMEOUT="2")
    with gateway.watched():
        connection = begin(gateway, f"content-length: {100 << 20}")
        connection.sendall(b"#" * (90 << 20))
        began, answer = time.monotonic(), b""
        connection.settimeout(0.2)
        while time.monotonic() - began < 40:
            try:
                connection.send(b"#")
                answer = connection.recv(4096)
            except TimeoutError:
                continue
            break
        assert answer[9:12] == b"408", answer[:200]
        connection.close()


def test_unfinished_uploads_are_limited_in_total(start):
    """40 unfinished uploads of 9 MB with a limit of 48 MB, half of it for one client."""
    gateway = start(MAX_FILE_SIZE="10M", MAX_UPLOADS_SIZE="48M", READ_TIMEOUT="10")
    with gateway.watched():
        answers: list[int] = []
        open_: list[socket.socket] = []

        def send() -> None:
            connection = begin(gateway, f"content-length: {10 << 20}")
            open_.append(connection)
            with contextlib.suppress(OSError):
                connection.sendall(b"#" * (9 << 20))
            connection.settimeout(3)
            answers.append(status(connection))

        threads = [threading.Thread(target=send) for _ in range(40)]
        for thread in threads:
            thread.start()
        most = 0
        work = f"{gateway.folder.name}/data/work"
        while any(thread.is_alive() for thread in threads):
            most = max(most, size_below(work))
            time.sleep(0.05)
        for thread in threads:
            thread.join()
        assert most <= 26 << 20, f"{most >> 20} MB on the disk"
        assert answers.count(503) >= 37, answers
        # Refused uploads leave nothing on the disk.
        until("only the others are left", lambda: size_below(work) <= 24 << 20, 10)
        for connection in open_:
            connection.close()


def size_below(folder: str) -> int:
    """The bytes of uploads. `walk` ignores folders that are removed while it lists them."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.startswith("upload-"):
                with contextlib.suppress(OSError):
                    total += os.stat(f"{parent}/{name}").st_size
    return total


def test_an_endless_chunk_header_costs_little(gateway):
    """Endless zeros or spaces once kept both async threads busy, and no limit applied."""
    with gateway.watched():
        began = gateway.processor_seconds()
        for start, rest in [("", b"0"), ("5", b" ")]:
            connections = [begin(gateway, "transfer-encoding: chunked") for _ in range(4)]
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.sendall(start.encode())
                    # Far more than the server reads before it closes the connection.
                    for _ in range(64):
                        connection.sendall(rest * (1 << 20))
                connection.close()
        assert gateway.processor_seconds() - began < 2
        assert gateway.convert_triangle().status == 200


def test_tiny_chunks_of_disconnected_clients_are_dropped(gateway):
    """The server once took minutes to read millions of chunks buffered by the kernel for disconnected clients."""
    pieces = b"1\r\n#\r\n" * 10_000
    with gateway.watched():
        connections = [begin(gateway, "transfer-encoding: chunked") for _ in range(30)]

        def send(connection: socket.socket) -> None:
            connection.settimeout(1)
            with contextlib.suppress(OSError):
                for _ in range(100):
                    connection.sendall(pieces)

        at_once(*[lambda connection=connection: send(connection) for connection in connections])
        closed = time.monotonic()
        for connection in connections:
            connection.close()
        gateway.is_idle_again()
        assert time.monotonic() - closed < 20
        spent = gateway.processor_seconds()
        time.sleep(2)
        assert gateway.processor_seconds() - spent < 0.5
