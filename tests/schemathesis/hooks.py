"""Constraints on requests that the OpenAPI document cannot express."""

import schemathesis

# Formats without Draco compression.
OTHERS = ("fbx", "obj", "vrm", "vrma", "bvh", "usd", "usda", "usdc", "usdz", "stl", "ply", "abc", "blend")


@schemathesis.hook
def before_call(context, case, kwargs):
    """Selects a format that supports Draco: otherwise the server always refuses requests with Draco."""
    query = case.query or {}
    if query.get("draco") in (True, "true") and query.get("output_format") in OTHERS:
        query["output_format"] = "glb"
