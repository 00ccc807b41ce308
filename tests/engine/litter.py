"""A zygote whose children convert as usual, and leave more in their folder: the name of the model says what.

It is the engine's own zygote and conversion. A test starts it by a program that stands in for Python (`stand_in`).
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from meshgate_engine import conversion
from meshgate_engine.runtime import zygote

OUT = Path("out")

# What no result may bring onto somebody's disk or into a zip.
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
    """Names that do harm, beside a texture that does none."""
    for name in (*NAMES, "fine.png", "FINE.png"):
        put(name)
    Path(os.fsdecode(b"out/not\xffutf-8.png")).write_bytes(b"x")


def put(name: str, content: bytes = b"x") -> None:
    path = OUT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def leave_linked(main: Path) -> None:
    """A second name of the result."""
    os.link(main, OUT / "second.png")


def leave_link_elsewhere(main: Path) -> None:
    """A result that has another name outside of the result."""
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
    """Long files that take no room."""
    for number in range(8):
        sparse(f"{number}.bmp", 200 << 20)


def leave_sparse_main(main: Path) -> None:
    with main.open("r+b") as file:
        file.truncate(1 << 30)


def leave_slow_to_pack(_main: Path) -> None:
    """Nothing on the disk, and half a minute of work in a zip."""
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
