"""Prepares textures for the exporter: without unreadable images, and as files with portable names."""

import re
from collections.abc import Iterable
from pathlib import Path

import bpy

from ..job import Job, listed
from . import image_encoding, texture_files, texture_usage

_FOLDER = Path("tmp/textures")
# Names of devices on Windows, with any extension.
_DEVICES = r"(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\.|$)"


def drop_unreadable(job: Job) -> None:
    """Removes images that the exporter would fail on or write as black, and all if the result is a single file."""
    if not job.target.is_native:
        _drop([image for image in bpy.data.images if texture_files.is_missing(image)])
    # glTF's exporter decodes images, and leaves out those it cannot; the others copy what they are given.
    if job.target.uses_gltf_exporter:
        # The size decodes the image.
        damaged = [image for image in texture_usage.scene_images() if image.source == "FILE" and image.size[0] == 0]
        for image in damaged:
            job.warn(f"a texture could not be read: {texture_files.base_name(image.filepath_raw or image.name)}")
        _drop(damaged)
    if job.packaging == "single" and job.target.textures_beside:
        unwanted = texture_usage.scene_images()
        _drop(unwanted)
        job.lose("textures", len(unwanted), "single file")


def write_files(job: Job) -> None:
    """Writes every image to a file with a unique name, for exporters that copy files.

    Such exporters mix up images that share a file's name, or that have none.
    """
    if not job.target.materials or job.target.uses_gltf_exporter:
        return
    _FOLDER.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    changed: list[str] = []
    for image in texture_usage.scene_images():
        if image.source in {"FILE", "GENERATED"}:
            _write_file(job, image, taken, changed)
    if changed:
        verb = "s were made PNG or EXR" if len(changed) > 1 else " was made PNG or EXR"
        job.warn(f"{len(changed)} texture{verb}, as {job.output_format} allows: {listed(sorted(changed))}")


def _drop(images: Iterable[bpy.types.Image]) -> None:
    """Removes images and their nodes, so that the material's plain colour takes their place."""
    owners = [*bpy.data.materials, *bpy.data.worlds, *bpy.data.lights]
    trees = [owner.node_tree for owner in owners if owner.node_tree] + list(bpy.data.node_groups)
    for image in images:
        for tree in trees:
            for node in [node for node in tree.nodes if getattr(node, "image", None) == image]:
                tree.nodes.remove(node)
        bpy.data.images.remove(image)


def _write_file(job: Job, image: bpy.types.Image, taken: set[str], changed: list[str]) -> None:
    """Writes an image in a format of the target; ``changed`` gets its name if the format changed."""
    if image.source == "GENERATED":
        # Blender packs a generated image only when a pixel was set.
        image.pixels[0] = image.pixels[0]
    if image.is_dirty and not image.packed_file:
        image.pack()
    packed, path = image.packed_file, bpy.path.abspath(image.filepath_raw)
    content = packed.data if packed else Path(path).read_bytes()
    extension = None
    if job.target.image_formats is not None:
        extension = image_encoding.allowed_extension(content, job.target.image_formats)
        made = None if extension else image_encoding.png_or_exr(image, content)
        if made:
            content, extension = made
            changed.append(texture_files.name(image))
        elif extension is None:
            job.warn(f"a texture could not be read: {texture_files.name(image)}")
    file = _FOLDER / _free_name(image, content, taken, extension)
    file.write_bytes(content)
    while image.packed_file:
        image.unpack(method="REMOVE")
    image.source = "FILE"
    image.filepath_raw = str(file.absolute())


def _free_name(image: bpy.types.Image, content: bytes, taken: set[str], wanted: str | None) -> str:
    """A file name that no other image has, and that is safe in an .mtl file."""
    stem, _, extension = texture_files.name(image).rpartition(".")
    if not stem or extension.lower() not in image_encoding.EXTENSIONS:
        stem, extension = texture_files.name(image), image_encoding.extension(content) or "png"
    if wanted and (wanted, extension.lower()) != ("jpg", "jpeg"):
        extension = wanted
    stem = _portable(stem)
    free, number = f"{stem}.{extension}", 1
    while free.casefold() in taken:
        number += 1
        free = f"{stem}_{number}.{extension}"
    taken.add(free.casefold())
    return free


def _portable(stem: str) -> str:
    """A name that the service delivers: it leaves out files with others (``portable`` in ``names.rs``)."""
    stem = re.sub(r'[/\\:*?"<>|]', "_", "".join(c if c.isprintable() else "_" for c in stem)).lstrip(". ")
    # The limit is in bytes, and leaves room for a number and an extension.
    stem = stem[:80].encode("utf-8", "replace")[:170].decode("utf-8", "ignore").rstrip(". ") or "texture"
    return f"_{stem}" if re.match(_DEVICES, stem, re.IGNORECASE) else stem
