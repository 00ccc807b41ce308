"""Behaviour that refactoring must not change, recorded in `snapshots/`.

Run the tests with `UPDATE=1` to rewrite the snapshots; review the diff before you commit it.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / (os.environ.get("MESHGATE_PROGRAM") or "target/release/meshgate")
SNAPSHOTS = Path(__file__).resolve().parent / "snapshots"
# The caller's environment must not affect help texts or conversions.
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def check(name: str, now: str) -> None:
    """Compares a text with the named snapshot."""
    path = SNAPSHOTS / name
    if os.environ.get("UPDATE"):
        path.write_text(now)
    before = path.read_text() if path.exists() else ""
    assert now.splitlines() == before.splitlines(), f"{path.relative_to(ROOT)} differs; UPDATE=1 writes it anew"
