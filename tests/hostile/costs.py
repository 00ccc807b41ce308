"""Limits on what one model costs the server itself: memory, disk space, processor time."""

import os
import threading
import time

from kit import Gateway, at_once

# The most memory of the server itself while it handles two such models, in bytes.
MOST_MEMORY = 900 << 20
# The most disk space of one model: the zip, and `MAX_UNPACKED_SIZE` each for the model and its rewritten files.
MOST_DISK = (2 << 30) + (64 << 20)
# Seconds between disk measurements: short enough to see the peak.
LOOK = 0.05


class Disk:
    """The peak growth of a server's folder during this context, in bytes and entries."""

    def __init__(self, gateway: Gateway):
        self.folder, self.over = gateway.folder.name, threading.Event()
        self.bytes = self.entries = 0
        self.looking = threading.Thread(target=self.look)

    def held(self) -> tuple[int, int]:
        """The current bytes and entries."""
        total, entries, folders = 0, 0, [self.folder]
        while folders:
            try:
                found = list(os.scandir(folders.pop()))
            except OSError:
                continue
            for entry in found:
                entries += 1
                try:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
                except OSError:
                    continue
        return total, entries

    def look(self) -> None:
        while not self.over.wait(LOOK):
            total, entries = self.held()
            self.bytes = max(self.bytes, total - self.before[0])
            self.entries = max(self.entries, entries - self.before[1])

    def __enter__(self):
        self.before = self.held()
        self.looking.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.looking.join()


def costs_little(
    gateway: Gateway,
    model: bytes,
    code: str | None,
    name: str = "a.zip",
    target: str = "glb",
    most_memory: int = MOST_MEMORY,
    most_seconds: float = 60,
) -> None:
    """Sends the model from two clients at once; checks the responses and the costs."""
    with gateway.watched() as watch, Disk(gateway) as disk:
        gateway.peak_memory()
        before, began = gateway.processor_seconds(), time.monotonic()
        answers = at_once(*[lambda: gateway.convert(name, model, target, Cache_Control="no-cache")] * 2)
        took, spent = time.monotonic() - began, gateway.processor_seconds() - before
        peak = gateway.peak_memory()
    for answer in answers:
        assert getattr(answer, "code", answer) == code, answer
    print(
        f"{answers[0].code}: {peak >> 20} MB, {disk.bytes >> 20} MB on disk, {disk.entries} entries, "
        f"{took:.1f} s, {spent:.1f} s of processor, /livez at most {watch.worst * 1000:.0f} ms"
    )
    assert peak < most_memory, f"{peak >> 20} MB"
    assert disk.bytes < 2 * MOST_DISK, f"{disk.bytes >> 20} MB"
    assert disk.entries < 100_000, disk.entries
    assert spent < most_seconds, spent
