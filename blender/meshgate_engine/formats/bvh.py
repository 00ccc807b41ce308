"""Biovision motion: one skeleton with one clip.

Units. A BVH file has none. A skeleton taller than 20 is taken as centimetres (motion capture), any other as metres,
with a warning in the first case. A BVH that becomes a BVH keeps its numbers; everything else is written in metres.

Frames. The file's frame time becomes the scene's, so that one frame of the file is one frame of the scene.

Blender's own exporter is not used: it writes z up, forgets where the armature stands, and cuts the frame time to six
digits (a take of an hour would end four minutes early or late).
"""

from .bvh_reader import read
from .bvh_writer import write

__all__ = ["read", "write"]
