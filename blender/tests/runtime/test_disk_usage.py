"""A child's disk usage is measured even if the child tries to hide it."""

import os
import subprocess

from meshgate_engine.runtime import disk_usage

MIB = 1 << 20


def write(path, size=MIB) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def test_disk_usage_counts_files_in_all_folders(tmp_path):
    empty = disk_usage.used(str(tmp_path))
    write(tmp_path / "out" / "a")
    write(tmp_path / "tmp" / "b" / "c" / ".d")
    os.symlink("/usr", tmp_path / "link")
    (tmp_path / "out" / "sparse").touch()
    os.truncate(tmp_path / "out" / "sparse", 100 * MIB)
    assert empty + 2 * MIB <= disk_usage.used(str(tmp_path)) < empty + 3 * MIB
    assert disk_usage.used(str(tmp_path / "none")) == 0


def test_disk_usage_of_unreadable_folders_is_unknown(tmp_path, monkeypatch):
    deep = tmp_path / "deep"
    deep.mkdir()
    here = os.getcwd()
    os.chdir(deep)
    try:
        for _ in range(3000):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    used = disk_usage.used(str(deep))
    # pytest's later cleanup of temporary folders would overflow the stack.
    subprocess.run(["rm", "-rf", deep], check=True)
    assert used is None

    many = tmp_path / "many"
    for number in range(30):
        write(many / str(number % 3) / str(number), 1)
    assert disk_usage.used(str(many)) is not None
    monkeypatch.setattr(disk_usage, "_MOST_ENTRIES", 30)
    assert disk_usage.used(str(many)) is None

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    # Root can read every folder, so a folder's mode would have no effect.
    monkeypatch.setattr(os, "scandir", refuse)
    assert disk_usage.used(str(tmp_path)) is None


def test_disk_usage_counts_deleted_files_while_open(tmp_path):
    before = disk_usage.deleted_open_bytes(os.getpid())
    write(tmp_path / "a")
    with open(tmp_path / "a") as file:
        assert disk_usage.deleted_open_bytes(os.getpid()) == before
        os.remove(tmp_path / "a")
        twice = os.dup(file.fileno())
        assert before + MIB <= disk_usage.deleted_open_bytes(os.getpid()) < before + 2 * MIB
        os.close(twice)
    assert disk_usage.deleted_open_bytes(os.getpid()) == before
