"""Blender's scene and operators, as the rest of the package sees them."""
