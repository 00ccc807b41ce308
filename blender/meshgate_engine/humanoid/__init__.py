"""Humanoids and avatars: which bone is which, licences, expressions, and VRM 0.x in terms of VRM 1.0."""
