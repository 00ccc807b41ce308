"""Meshes: applying modifiers, realizing instances, scaling, and faces on the same vertices."""
