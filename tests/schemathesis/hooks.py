"""Constraints on requests that the OpenAPI document cannot express."""

import json
from pathlib import Path

import schemathesis

DOCUMENT = json.loads((Path(__file__).resolve().parents[2] / "docs/openapi.json").read_text())
CONVERSIONS = ("/convert", "/v1/convert")
WITHOUT_DRACO = set(DOCUMENT["components"]["schemas"]["Format"]["enum"]) - {"glb", "gltf"}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes requests consistent.

    Selects a format that supports Draco: otherwise the server always refuses requests with Draco. Removes keys for
    idempotency from conversions: they count only for those that become jobs, and submissions of jobs have them, too.
    """
    query = case.query or {}
    target = query.get("output_format")
    if query.get("draco") in (True, "true") and isinstance(target, str) and target in WITHOUT_DRACO:
        query["output_format"] = "glb"
    if case.path in CONVERSIONS and case.headers:
        case.headers.pop("Idempotency-Key", None)
