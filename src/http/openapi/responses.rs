//! Responses in the document: bodies, headers, and errors with their codes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::domain::ErrorCode;
use crate::http::problem::status;

const REQUEST_ID: &str = "X-Request-Id";

/// Returns a response with a body.
pub fn response(description: &str, media_type: &str, schema: &Value) -> Value {
    json!({
        "description": description,
        "headers": named(&[REQUEST_ID]),
        "content": { (media_type): { "schema": schema } },
    })
}

/// Returns every error code with its explanation, both from the type's schema.
pub fn codes() -> Vec<(ErrorCode, String)> {
    let schema = schemars::schema_for!(ErrorCode).to_value();
    let variants = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let code = |variant: &Value| {
        let code = serde_json::from_value(variant["const"].clone()).ok()?;
        Some((code, variant["description"].as_str()?.to_owned()))
    };
    variants.iter().filter_map(code).collect()
}

/// Returns the responses for these codes, by status; `locked` adds the response to a missing key.
pub fn errors(wanted: &[ErrorCode], locked: bool) -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<(ErrorCode, String)>> = BTreeMap::new();
    for (code, meaning) in codes() {
        if wanted.contains(&code) || locked && code == ErrorCode::Unauthorized {
            by_status.entry(status(code).as_u16()).or_default().push((code, meaning));
        }
    }
    by_status.into_iter().map(|(status, codes)| (status.to_string(), problem(status, &codes))).collect()
}

fn problem(status: u16, codes: &[(ErrorCode, String)]) -> Value {
    let meanings: Vec<_> = codes.iter().map(|(code, meaning)| format!("- `{code}`: {meaning}")).collect();
    let headers = match status {
        401 => &[REQUEST_ID, "WWW-Authenticate"][..],
        409 | 429 | 503 => &[REQUEST_ID, "Retry-After"],
        416 => &[REQUEST_ID, "Content-Range"],
        _ => &[REQUEST_ID],
    };
    let codes: Vec<_> = codes.iter().map(|(code, _)| code).collect();
    json!({
        "description": meanings.join("\n"),
        "headers": named(headers),
        "content": { "application/problem+json": { "schema": {
            "allOf": [{ "$ref": "#/components/schemas/Problem" }],
            "properties": { "status": { "const": status }, "code": { "enum": codes } },
        } } },
    })
}

/// Adds references to these headers of [`headers`].
pub fn add_headers(response: &mut Value, names: &[&str]) {
    if let Some(headers) = response["headers"].as_object_mut() {
        headers.extend(named(names));
    }
}

/// Returns the response to a job that was submitted, whose schema is `job`.
pub fn accepted(job: &Value) -> Value {
    let mut accepted = response("Accepted and durable; the job.", "application/json", job);
    add_headers(&mut accepted, &["Retry-After", "Idempotent-Replayed", "Preference-Applied"]);
    accepted["headers"]["Location"] = json!({
        "description": "The path of the job.",
        "required": true,
        "schema": { "type": "string", "format": "uri-reference" },
    });
    accepted
}

/// Returns references to these headers of [`headers`].
pub fn named(names: &[&str]) -> Map<String, Value> {
    names
        .iter()
        .map(|name| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })))
        .collect()
}

/// Returns every header worth documenting that a response may have.
pub fn headers() -> Value {
    let optional = |description: &str, schema: Value| json!({ "description": description, "schema": schema });
    let text = json!({ "type": "string" });
    let pattern = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let number = |minimum: u8| json!({ "type": "integer", "minimum": minimum });
    json!({
        (REQUEST_ID): required("The request ID, as in the server's log.", &pattern("^[A-Za-z0-9_.:/-]{1,128}$")),
        "Content-Disposition":
            required("The input's file name with the new extension (RFC 6266, RFC 8187).", &text),
        "Server-Timing": required(
            "Milliseconds of the stages `receive`, `queue`, `convert` and `check`; 0 for skipped stages.",
            &text,
        ),
        "Meshgate-Losses": required("Number of losses; the report lists them.", &number(0)),
        "Meshgate-Cache": optional(
            "The conversion that the response comes from: an earlier one (`hit`), one for this request (`miss`), or \
             one for an equal request at the same time (`coalesced`). Errors have this header only if the conversion \
             itself failed.",
            json!({ "type": "string", "enum": ["hit", "miss", "coalesced"] }),
        ),
        "Cache-Control": required(
            "Only the client may cache a result, and revalidates it with `If-None-Match`.",
            &text,
        ),
        "ETag": required("The BLAKE3 hash of the file, for `If-None-Match`.", &pattern("^\"[0-9a-f]{64}\"$")),
        "Location": required("The URL of the file.", &json!({ "type": "string", "format": "uri" })),
        "Link": required(
            "The path of the report, or of the job with its report: `</v1/reports/{id}>; rel=\"describedby\"`.",
            &text,
        ),
        "Retry-After": optional("Seconds after which to retry, if known.", number(1)),
        "RateLimit": optional(
            "The number of conversions left (`r`), and the seconds until more become available (`t`), as in \
             draft-ietf-httpapi-ratelimit-headers. Absent if the operator has set no limit.",
            pattern("^\"default\";r=[0-9]+;t=[0-9]+$"),
        ),
        "RateLimit-Policy": optional(
            "The number of conversions (`q`) that the client may request in a window of seconds (`w`). Present with \
             `RateLimit`.",
            pattern("^\"default\";q=[0-9]+;w=[0-9]+$"),
        ),
        "Accept-Ranges": required("`bytes`: a request may ask for a range of the file.", &text),
        "Content-Range": required(
            "The range of the file, as `bytes FIRST-LAST/LENGTH`; for a range that it does not have, `bytes */LENGTH`.",
            &pattern("^bytes ([0-9]+-[0-9]+|\\*)/[0-9]+$"),
        ),
        "Repr-Digest": optional(
            "The SHA-256 of the whole file (RFC 9530). Absent for large files, and for small ranges of files in a bucket, \
             unless it is known or the request has `Want-Repr-Digest`.",
            pattern("^sha-256=:[A-Za-z0-9+/]{43}=:$"),
        ),
        "Idempotent-Replayed": optional(
            "Present if the job was submitted by an earlier request with the same `Idempotency-Key`.",
            json!({ "type": "string", "const": "true" }),
        ),
        "Preference-Applied": optional("The preferences of `Prefer` that were applied.", text.clone()),
        "WWW-Authenticate": required("The authentication scheme for the API key.", &text),
    })
}

fn required(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "required": true, "schema": schema })
}

/// Returns the security of a locked operation: a key in either header, or none if no keys are configured.
pub fn security() -> Value {
    json!([{}, { "bearer": [] }, { "key": [] }])
}
