"""Biovision motion: one skeleton with one clip.

Units. A BVH file has none. A skeleton taller than 20 is assumed to be in centimetres (motion capture), with a warning;
any other in metres. A BVH that becomes a BVH keeps its numbers; everything else is written in metres.

Frames. The file's frame time becomes the scene's, so that one frame of the file is one frame of the scene.

Blender's exporter is not used: it writes z up, ignores the armature's place, and rounds the frame time to six digits,
which is up to four minutes in an hour.
"""

from .bvh_reader import read
from .bvh_writer import write

__all__ = ["read", "write"]
