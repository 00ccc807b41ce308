"""Humanoids and avatars: bone mapping, licences, expressions, and converting VRM 0.x to 1.0."""
