"""Measures a child's disk usage, since the kernel limits the size of each file but not their number."""

import contextlib
import errno
import os
import stat

# More or deeper entries are not measured: models have 2,000 files at most, in folders nested 64 deep.
_MOST_ENTRIES, _DEEPEST = 20_000, 96
# Errors of folders that exist and cannot be read.
_HIDDEN = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP}
_BLOCK = 512  # bytes


def used(folder: str) -> int | None:
    """Bytes below ``folder``; None when there are too many entries, or when a part cannot be read."""
    total = entries = 0
    pending = [(folder, 0)]
    while pending:
        path, depth = pending.pop()
        try:
            with os.scandir(path) as found:
                for entry in found:
                    entries += 1
                    if entries > _MOST_ENTRIES or depth > _DEEPEST:
                        return None
                    # The child may remove it meanwhile.
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        total += status.st_blocks * _BLOCK
                        if stat.S_ISDIR(status.st_mode):
                            pending.append((entry.path, depth + 1))
        except OSError as error:
            if error.errno in _HIDDEN:
                return None
    return total


def deleted_open_bytes(pid: int) -> int:
    """Bytes of removed files that a process keeps open; its memory limit bounds files that it maps."""
    files: dict[tuple[int, int], int] = {}
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as found:
        for entry in found:
            with contextlib.suppress(OSError):
                status = os.stat(entry.path)
                if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                    files[status.st_dev, status.st_ino] = status.st_blocks * _BLOCK
    return sum(files.values())
