"""The floor to measure against: fork from a warm Blender, convert, wait. No sandbox, no protocol, no report.

Without arguments it reads lines "IN<tab>OUT" and answers "ok" when the child is gone; with two it converts one file
in this very process, as a gateway that starts a Blender per conversion would.
"""

import os
import sys


def warm_up() -> None:
    """Loads Blender, and empties its scene: a cube, a light and a camera would be in every result."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)


def convert(source: str, target: str) -> None:
    import bpy

    bpy.ops.wm.fbx_import(filepath=source)
    bpy.ops.export_scene.gltf(filepath=target, export_format="GLB")


def serve() -> None:
    warm_up()
    # The first use loads the exporter; its messages must not mix with the answers.
    import io_scene_gltf2.blender.exp.export  # noqa: F401

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        source, target = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            convert(source, target)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print("ok" if status == 0 else "failed", file=answers, flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        warm_up()
        convert(*sys.argv[1:])
        os._exit(0)
    serve()
