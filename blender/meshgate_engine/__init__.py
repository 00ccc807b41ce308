"""The part of Meshgate that runs inside Blender's Python: a zygote that forks one sandboxed child per conversion."""
