"""Materials and textures: what a scene uses of them, and what exporters need of them."""
