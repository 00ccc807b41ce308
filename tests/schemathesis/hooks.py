"""What the document cannot say of requests."""

import schemathesis

# Formats that are not compressed by Draco.
OTHERS = ("fbx", "obj", "vrm", "vrma", "bvh", "usd", "usda", "usdc", "usdz", "stl", "ply", "abc", "blend")


@schemathesis.hook
def before_call(context, case, kwargs):
    """Asks for a format that Draco goes with: else that would refuse the request, whatever else is wrong with it."""
    query = case.query or {}
    if query.get("draco") in (True, "true") and query.get("output_format") in OTHERS:
        query["output_format"] = "glb"
