"""Materials and textures: finding those in use, and preparing them for exporters."""
