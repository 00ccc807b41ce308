"""A zygote whose children convert normally and leave extra files: the name of the model selects them.

It is the engine's own zygote and conversion. Tests start it through a replacement for Python (`stand_in`).
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from meshgate_engine import conversion
from meshgate_engine.runtime import zygote

OUT = Path("out")

# File names that no result may contain, on disk or in a zip.
NAMES = (
    ".bashrc", ".ssh/authorized_keys", ".git/hooks/pre-commit", "..\\x.png", "a\\b.png", "C:x.png", "two\nlines.png",
    "\x1b[2J.png", "run.sh", "x.desktop", "no extension", "aux.png", "nul", "turned\u202egnp.exe", "end.png ",
    "textures/.hidden.png", "deep/.x/y.png", "x" * 250 + ".png",
)  # fmt: skip


def run(task: dict, progress: Callable[[str, float | None], None]) -> dict:
    report = conversion.run(task, progress)
    leave = globals().get(f"leave_{Path(task['input']).stem.replace('-', '_')}")
    if leave is not None:
        leave(Path(task["output"]))
    return report


def leave_names(_main: Path) -> None:
    """Files with harmful names, and a harmless texture."""
    for name in (*NAMES, "fine.png", "FINE.png"):
        put(name)
    Path(os.fsdecode(b"out/not\xffutf-8.png")).write_bytes(b"x")


def put(name: str, content: bytes = b"x") -> None:
    path = OUT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def leave_linked(main: Path) -> None:
    """A hard link to the result."""
    os.link(main, OUT / "second.png")


def leave_link_elsewhere(main: Path) -> None:
    """A result that is hard-linked to a file outside of it."""
    os.link(main, "tmp/second")


def leave_many(_main: Path) -> None:
    for number in range(10_000):
        put(f"{number}.png")


def leave_long_names(_main: Path) -> None:
    for number in range(6_000):
        put(f"{number:04}{'x' * 190}.png")


def leave_deep(_main: Path) -> None:
    put("/".join(["d"] * 40) + "/x.png")


def leave_sparse(_main: Path) -> None:
    """Large sparse files."""
    for number in range(8):
        sparse(f"{number}.bmp", 200 << 20)


def leave_sparse_main(main: Path) -> None:
    with main.open("r+b") as file:
        file.truncate(1 << 30)


def leave_slow_to_zip(_main: Path) -> None:
    """A sparse file that takes half a minute to zip."""
    sparse("a.bmp", 8 << 30)


def sparse(name: str, length: int) -> None:
    with open(OUT / name, "wb") as file:
        file.truncate(length)


def leave_unreadable(_main: Path) -> None:
    put("closed.png")
    os.chmod(OUT / "closed.png", 0)


def leave_pipe(_main: Path) -> None:
    os.mknod(OUT / "pipe.png", stat.S_IFIFO | 0o600)


if __name__ == "__main__":
    zygote.main(run=run)
