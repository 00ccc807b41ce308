"""A zygote whose children cause the fault that the name of the model selects.

It is the engine's own zygote; only the conversion is replaced.
"""

import ctypes
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from meshgate_engine.errors import ConversionError
from meshgate_engine.runtime import zygote

Progress = Callable[[str, float | None], None]


def run(task: dict, progress: Progress) -> dict:
    name = Path(task["input"]).stem
    Path("in/pid").write_text(str(os.getpid()))
    progress("importing", None)
    fault = globals().get(f"fault_{name}")
    if fault is not None:
        fault(task, progress)
    return convert(task, progress)


def convert(task: dict, progress: Progress) -> dict:
    """A minimal conversion."""
    import bpy

    bpy.ops.wm.obj_import(filepath=os.path.abspath(task["input"]))
    progress("exporting", 0.5)
    bpy.ops.wm.stl_export(filepath=os.path.abspath(task["output"]))
    importer = "other" if task["importer"] == "other" else "wm.obj_import"
    return report(importer, len(bpy.data.objects))


def report(importer: str, objects: int) -> dict:
    return {
        "input": {"objects": objects},
        "output": None,
        "importer": importer,
        "packed_textures": 0,
        "losses": [],
        "warnings": [],
        "import_ms": 1.0,
        "process_ms": 0.0,
        "export_ms": 1.0,
        "check_ms": 0.0,
    }


def first_time() -> bool:
    """Whether this is the first attempt. Files in ``in/`` are kept for the second."""
    marker = Path("in/tried")
    if marker.exists():
        return False
    # Not touch(): in the sandbox, setting times is ignored, so that no file would be created.
    marker.write_text("")
    return True


def crash() -> None:
    Path("out/half-written").write_text("")
    Path("tmp/scratch").write_text("")
    # The sandbox forbids signals, even to the own process.
    ctypes.string_at(0)


def hang() -> None:
    time.sleep(1e6)


def fault_crash(task: dict, progress: Progress) -> None:
    crash()


def fault_crash_once(task: dict, progress: Progress) -> None:
    if first_time():
        crash()
    left = [*Path("out").iterdir(), *Path("tmp").glob("scratch")]
    if left:
        raise ConversionError("internal", f"the first attempt left {left}")


def fault_crash_usual(task: dict, progress: Progress) -> None:
    """Crashes like a file that the C++ importer cannot handle."""
    if task["importer"] == "usual":
        crash()


def fault_crash_exporting(task: dict, progress: Progress) -> None:
    """Crashes outside the importer."""
    if first_time():
        progress("exporting", None)
        crash()


def fault_hang(task: dict, progress: Progress) -> None:
    hang()


def fault_hang_once(task: dict, progress: Progress) -> None:
    if first_time():
        hang()


def fault_exit(task: dict, progress: Progress) -> None:
    os._exit(3)


def fault_burn(task: dict, progress: Progress) -> None:
    while True:
        pass


def fault_wait(task: dict, progress: Progress) -> None:
    """Stays busy until told to continue."""
    while not Path("in/go").exists():
        busy_until = time.process_time() + 0.002
        while time.process_time() < busy_until:
            pass
        time.sleep(0.01)


def fault_family(task: dict, progress: Progress) -> None:
    """Starts a descendant, if the sandbox allows it."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1e6)
    Path("tmp/descendant").write_text(str(pid))
    os.rename("tmp/descendant", "in/descendant")
    fault_wait(task, progress)


def fault_estranged(task: dict, progress: Progress) -> None:
    """Starts descendants in other sessions: one only forked, one that executes a program."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        time.sleep(300)
        os._exit(0)
    program = subprocess.Popen(["/bin/sleep", "300"], start_new_session=True)
    Path("tmp/descendants").write_text(f"{pid} {program.pid}")
    os.rename("tmp/descendants", "in/descendants")
    fault_wait(task, progress)


def fault_print(task: dict, progress: Progress) -> None:
    line = b"FBX version: x" * 5000 + b"\n"
    for _ in range(500):
        os.write(1, line)
        os.write(2, line)


def fault_allocate(task: dict, progress: Progress) -> None:
    hoard = []
    while True:
        hoard.append(bytearray(64 << 20))


def fault_roomy(task: dict, progress: Progress) -> None:
    """Needs more address space than 2 GiB, and less than 4 GiB, with what Blender takes."""
    mmap.mmap(-1, 1536 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()


def fault_refuse(task: dict, progress: Progress) -> None:
    raise ConversionError("empty_model", "the model has no object")


def fault_swallow(task: dict, progress: Progress) -> None:
    """Prints that memory is exhausted and continues, like some libraries."""
    print("Exception thrown while opening layer: std::bad_alloc", file=sys.stderr, flush=True)
    raise ConversionError("export_failed", "the usda file written cannot be read")


def fault_linked(task: dict, progress: Progress) -> None:
    os.symlink("/etc/passwd", "out/texture.png")


def fault_lie(task: dict, progress: Progress) -> None:
    """Reports a success and leaves no file."""
    Path("report.json").write_text(json_of(report("none", 1)))
    os._exit(0)


def json_of(success: dict) -> str:
    import json

    return json.dumps({"outcome": "succeeded", **success})


if __name__ == "__main__":
    zygote.main(run=run)
