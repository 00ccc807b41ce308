//! Responses in the document: bodies, headers, and errors with their codes.

use std::collections::BTreeMap;
use std::fmt::Write;

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::schemas::Schemas;
use crate::domain::ErrorCode;
use crate::http::problem::status;

const REQUEST_ID: &str = "X-Request-Id";

/// The body of a successful response.
pub struct Answer {
    media_type: &'static str,
    schema: Value,
}

impl Answer {
    pub fn json<T: JsonSchema>(schemas: &mut Schemas) -> Self {
        Self { media_type: "application/json", schema: schemas.of::<T>() }
    }

    pub fn object() -> Self {
        Self { media_type: "application/json", schema: json!({ "type": "object" }) }
    }

    pub fn text(media_type: &'static str) -> Self {
        Self { media_type, schema: json!({ "type": "string" }) }
    }

    pub fn response(&self, description: &str) -> Value {
        let mut content = Map::new();
        content.insert(self.media_type.to_owned(), json!({ "schema": self.schema }));
        json!({ "description": description, "headers": named(&[REQUEST_ID]), "content": content })
    }
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
    let mut description = String::new();
    for (code, meaning) in codes {
        let _ = writeln!(description, "- `{code}`: {meaning}");
    }
    let headers = match status {
        401 => &[REQUEST_ID, "WWW-Authenticate"][..],
        429 | 503 => &[REQUEST_ID, "Retry-After"],
        _ => &[REQUEST_ID],
    };
    let codes: Vec<_> = codes.iter().map(|(code, _)| code).collect();
    json!({
        "description": description.trim_end(),
        "headers": named(headers),
        "content": { "application/problem+json": { "schema": {
            "allOf": [{ "$ref": "#/components/schemas/Problem" }],
            "properties": { "status": { "const": status }, "code": { "enum": codes } },
        } } },
    })
}

/// Adds the rate limit headers to a response.
pub fn count(response: &mut Value) {
    if let Some(headers) = response["headers"].as_object_mut() {
        headers.extend(named(&["RateLimit", "RateLimit-Policy"]));
    }
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
    let text = json!({ "type": "string" });
    json!({
        (REQUEST_ID): {
            "description": "The request ID, as in the server's log.",
            "required": true,
            "schema": { "type": "string", "pattern": "^[A-Za-z0-9_.:/-]{1,128}$" },
        },
        "Content-Disposition": {
            "description": "The input's file name with the new extension (RFC 6266, RFC 8187).",
            "required": true,
            "schema": text,
        },
        "Server-Timing": {
            "description": "Milliseconds of the stages `receive`, `queue`, `convert` and `check`; 0 for \
                skipped stages.",
            "required": true,
            "schema": text,
        },
        "Meshgate-Losses": {
            "description": "Number of losses; the report lists them.",
            "required": true,
            "schema": { "type": "integer", "minimum": 0 },
        },
        "Meshgate-Cache": {
            "description": "The conversion that the response comes from: an earlier one (`hit`), one for this request \
                (`miss`), or one for an equal request at the same time (`coalesced`). Errors have this header only \
                if the conversion itself failed.",
            "schema": { "type": "string", "enum": ["hit", "miss", "coalesced"] },
        },
        "Cache-Control": {
            "description": "Only the client may cache a result, and revalidates it with `If-None-Match`.",
            "required": true,
            "schema": text,
        },
        "ETag": {
            "description": "The BLAKE3 hash of the file, for `If-None-Match`.",
            "required": true,
            "schema": { "type": "string", "pattern": "^\"[0-9a-f]{64}\"$" },
        },
        "Location": {
            "description": "The URL of the file.",
            "required": true,
            "schema": { "type": "string", "format": "uri" },
        },
        "Link": {
            "description": "The path of the report: `</v1/reports/{id}>; rel=\"describedby\"`.",
            "required": true,
            "schema": text,
        },
        "Retry-After": {
            "description": "Seconds after which to retry, if known.",
            "schema": { "type": "integer", "minimum": 1 },
        },
        "RateLimit": {
            "description": "The number of conversions left (`r`), and the seconds until more become available \
                (`t`), as in draft-ietf-httpapi-ratelimit-headers. Absent if the operator has set no limit.",
            "schema": { "type": "string", "pattern": "^\"default\";r=[0-9]+;t=[0-9]+$" },
        },
        "RateLimit-Policy": {
            "description": "The number of conversions (`q`) that the client may request in a window of seconds (`w`). \
                Present with `RateLimit`.",
            "schema": { "type": "string", "pattern": "^\"default\";q=[0-9]+;w=[0-9]+$" },
        },
        "WWW-Authenticate": {
            "description": "The authentication scheme for the API key.",
            "required": true,
            "schema": text,
        },
    })
}

/// Returns the security of a locked operation: a key in either header, or none if no keys are configured.
pub fn security() -> Value {
    json!([{}, { "bearer": [] }, { "key": [] }])
}
