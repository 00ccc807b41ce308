"""Constraints on requests that the OpenAPI document cannot express."""

import json
from pathlib import Path

import schemathesis

DOCUMENT = json.loads((Path(__file__).resolve().parents[2] / "docs/openapi.json").read_text())
WITHOUT_DRACO = set(DOCUMENT["components"]["schemas"]["Format"]["enum"]) - {"glb", "gltf"}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Selects a format that supports Draco: otherwise the server always refuses requests with Draco."""
    query = case.query or {}
    if query.get("draco") in (True, "true") and query.get("output_format") in WITHOUT_DRACO:
        query["output_format"] = "glb"
