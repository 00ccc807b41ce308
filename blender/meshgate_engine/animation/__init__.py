"""Clips: finding, playing and preparing them, and baking other motion into them."""
