"""Clips: finding them, playing them, baking what else moves, and what each target holds of them."""
