"""Blender's scene, operators, arrays and add-ons, for the rest of the package."""
