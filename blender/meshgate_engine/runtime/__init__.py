"""Runs conversions: the zygote, its sandboxed children, and the protocol spoken with the supervisor."""
