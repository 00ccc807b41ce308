"""Behaviour that no change of the code's layout may change, held in `snapshots/`.

`UPDATE=1` before the tests writes the snapshots anew: look at the difference before you commit it.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / (os.environ.get("MESHGATE_PROGRAM") or "target/release/meshgate")
SNAPSHOTS = Path(__file__).resolve().parent / "snapshots"
# Settings of the caller's shell change neither help texts nor conversions.
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def check(name: str, now: str) -> None:
    """Compares a text with the snapshot of this name."""
    path = SNAPSHOTS / name
    if os.environ.get("UPDATE"):
        path.write_text(now)
    before = path.read_text() if path.exists() else ""
    assert now.splitlines() == before.splitlines(), f"{path.relative_to(ROOT)} differs; UPDATE=1 writes it anew"
