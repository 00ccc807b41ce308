"""Removes references of a .blend to files outside of the model, and paths of this machine from results."""

import os
from collections import defaultdict, deque

import bpy

from ..blender_api import scene
from ..job import Job
from ..materials import texture_files

# Nodes that read a file when a mesh is evaluated: text, tables, meshes, volumes.
_READING_NODES = "GeometryNodeImport"
# Nearly as long as the longest folder and the longest name: Blender splits some paths into both.
_FILLING = "/" * 760 + "x" * 250


def remove_outside(job: Job) -> None:
    """Removes references to files outside of the model; ``texture_files.relink`` does so for images."""
    for library in list(bpy.data.libraries):
        if not texture_files.is_within(library.filepath):
            job.warn(f"a linked library was not opened: {texture_files.base_name(library.filepath)}")
            bpy.data.libraries.remove(library)
    for blocks in (bpy.data.cache_files, bpy.data.volumes, bpy.data.sounds, bpy.data.movieclips, bpy.data.fonts):
        for block in list(blocks):
            packed = getattr(block, "packed_file", None)
            if block.filepath not in {"", "<builtin>"} and not packed and not texture_files.is_within(block.filepath):
                job.warn(f"a file was not found: {texture_files.base_name(block.filepath)}")
                blocks.remove(block)
    _empty_computed_paths(job)
    _empty_paths(job)


def _empty_computed_paths(job: Job) -> None:
    """Unlinks paths that nodes or modifiers compute: they cannot be checked before Blender reads the files."""
    nodes = [node for tree in scene.node_trees() for node in tree.nodes if node.bl_idname.startswith(_READING_NODES)]
    sockets = [each for node in nodes for each in node.inputs if each.type == "STRING" and each.is_linked]
    for socket in sockets:
        scene.unlink_socket(socket)
        socket.default_value = ""
    job.lose("computed paths", len(sockets), "computed")


def _empty_paths(job: Job) -> None:
    """Empties all other paths out of the conversion's folder: of nodes, modifiers, caches and strips."""
    emptied = defaultdict(list)
    # The path of a text is only a name: its content is in the .blend.
    others = bpy.types.Image | bpy.types.Text | bpy.types.Library

    def visit(owner: bpy.types.ID, path: str, _meta: object) -> str | None:
        if isinstance(owner, others) or not path or texture_files.is_inside(path):
            return None
        emptied[owner].append(texture_files.base_name(path))
        return ""

    bpy.data.file_path_foreach(visit)
    # ``file_path_foreach`` leaves out nodes whose current mode uses no path.
    for tree in scene.node_trees():
        for node in tree.nodes:
            path = getattr(node, "filepath", "")
            if path and not texture_files.is_inside(path):
                node.filepath = ""
                emptied[tree].append(texture_files.base_name(path))
    for owner, names in emptied.items():
        owner.update_tag()
        for name in names:
            job.warn(f"a file was not found: {name}")
    if emptied:
        bpy.context.view_layer.update()


def make_paths_relative(job: Job) -> None:
    """Makes paths in the conversion's folder relative to the result, so that they reveal nothing of this machine."""
    folder = os.path.realpath(os.path.dirname(job.input))

    def visit(_owner: bpy.types.ID, path: str, _meta: object) -> str | None:
        if not path or path.startswith("//") or not texture_files.is_inside(path):
            return None
        relative = os.path.relpath(os.path.realpath(path), folder)
        return f"//{texture_files.base_name(path) if relative.startswith('..') else relative}"

    bpy.data.file_path_foreach(visit, flags=set())
    # Blender saves the whole buffer of a path: the filling overwrites the remains of longer paths behind shorter ones.
    paths = deque()

    def fill(_owner: bpy.types.ID, path: str, _meta: object) -> str:
        paths.append(path)
        return _FILLING

    bpy.data.file_path_foreach(fill, flags=set())
    bpy.data.file_path_foreach(lambda *_: paths.popleft(), flags=set())
    for image in bpy.data.images:
        for packed in image.packed_files:
            name = texture_files.base_name(packed.filepath) or image.name
            packed.filepath = _FILLING
            packed.filepath = f"//textures/{name}"


def make_libraries_local() -> None:
    """Copies data that is linked from other files of the model into this one, since the result is one file."""
    if not bpy.data.libraries:
        return
    for block in [block for block in scene.all_data() if block.library]:
        block.make_local()
    bpy.data.batch_remove(bpy.data.libraries)


def report_unpacked(job: Job) -> None:
    """Reports image sequences and movies, which a .blend cannot pack."""
    left = [image for image in bpy.data.images if image.source in {"SEQUENCE", "MOVIE"} and image.users]
    job.lose("moving images", len(left), "files of images", names=tuple(sorted(map(texture_files.name, left))))
