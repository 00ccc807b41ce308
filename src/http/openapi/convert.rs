//! The operation `POST /convert`: parameters (from the tables of options and formats), request bodies, and responses.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::responses::{accepted, add_headers, codes, errors, named, security};
use crate::domain::format::TABLE;
use crate::domain::{ErrorCode, Options, options};
use crate::http::jobs::document::Document;
use crate::jobs::ExecutorChoice;

/// A triangle as OBJ: the smallest model.
const EXAMPLE: &str = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n";

/// Codes that a conversion never responds with: the last two belong to the command line and to clients that hung up, the
/// others to other routes.
const EXCLUDED: [ErrorCode; 10] = [
    ErrorCode::WebhookRefused,
    ErrorCode::NotFound,
    ErrorCode::Expired,
    ErrorCode::MethodNotAllowed,
    ErrorCode::RangeNotSatisfiable,
    ErrorCode::JobNotFinished,
    ErrorCode::WrongJobState,
    ErrorCode::TooManyStreams,
    ErrorCode::OutputExists,
    ErrorCode::Cancelled,
];

/// Headers of every result.
const HEADERS: [&str; 8] = [
    "X-Request-Id",
    "Content-Disposition",
    "Server-Timing",
    "Meshgate-Losses",
    "Meshgate-Cache",
    "Cache-Control",
    "ETag",
    "Link",
];

pub fn describe(operation: &mut Value, schemas: &mut SchemaGenerator) {
    operation["parameters"] = parameters(schemas).into();
    operation["requestBody"] = body();
    let possible: Vec<_> =
        codes().into_iter().map(|(code, _)| code).filter(|code| !EXCLUDED.contains(code)).collect();
    let mut responses = errors(&possible, true);
    let without_body = |description: &str| json!({ "description": description, "headers": named(&HEADERS) });
    let mut result = without_body("The converted file, or a zip of several files (see `packaging`).");
    result["content"] = content();
    responses.insert("200".to_owned(), result);
    let job = schemas.subschema_for::<Document>().to_value();
    responses.insert("202".to_owned(), accepted(&job));
    let mut redirect = without_body(
        "A large result, at `Location` for a limited time; only if the operator redirects clients to the bucket.",
    );
    add_headers(&mut redirect, &["Location"]);
    responses.insert("303".to_owned(), redirect);
    let not_modified = without_body("The client has the result: `If-None-Match` names its `ETag`.");
    responses.insert("304".to_owned(), not_modified);
    for (status, response) in &mut responses {
        // Requests without a key are not counted.
        if status != "401" {
            add_headers(response, &["RateLimit", "RateLimit-Policy"]);
        }
        if ["415", "422", "500", "503", "504", "507"].contains(&status.as_str()) {
            add_headers(response, &["Meshgate-Cache"]);
        }
    }
    operation["responses"] = responses.into();
    operation["security"] = security();
}

/// The bodies of a result, by media type.
pub fn content() -> Value {
    let types = TABLE.iter().map(|info| info.media_type).chain(["application/zip"]);
    let binary = json!({ "schema": { "type": "string", "format": "binary" } });
    types.map(|name| (name.to_owned(), binary.clone())).collect::<Map<_, _>>().into()
}

pub fn parameters(schemas: &mut SchemaGenerator) -> Vec<Value> {
    let text = json!({ "type": "string" });
    let names: Vec<_> = TABLE.iter().map(|info| info.name).collect();
    let target = json!({
        "name": "output_format",
        "in": "query",
        "required": true,
        "description": "The target format.",
        "schema": { "type": "string", "enum": names },
        "example": "glb",
    });
    let about = "The file name of a raw body; form parts have their own file names.";
    let mut file_name = parameter("filename", "query", about, &text);
    file_name["example"] = json!("triangle.obj");
    let about = "The name of the main file, if several files could be the model.";
    let mut parameters = vec![target, file_name, parameter("main", "query", about, &text)];
    let about = "Where a job runs: in a Kubernetes Job of its own (only if the operator has set `KUBERNETES_JOBS`, and only \
        jobs), or in a worker. By default, the size of the model decides.";
    let choices = ExecutorChoice::ALL.map(ExecutorChoice::word);
    let executor = json!({ "type": "string", "enum": choices });
    parameters.push(parameter("executor", "query", about, &executor));
    let mut properties = Options::json_schema(schemas).to_value()["properties"].take();
    parameters.extend(options::TABLE.iter().map(|info| {
        let mut help = info.help.to_owned();
        if let Some(first) = help.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let mut schema = properties[info.name].take();
        if let Some(schema) = schema.as_object_mut() {
            schema.remove("description");
            // Swagger UI shows a plain enum better than a reference to one with a description for each value.
            if schema.remove("$ref").is_some() {
                schema.insert("type".to_owned(), json!("string"));
                schema.insert("enum".to_owned(), info.values().split('|').collect());
            }
        }
        parameter(info.name, "query", &format!("{help}."), &schema)
    }));
    for (name, about) in [
        (
            "If-None-Match",
            "`ETag`s of results that the client has; if the result is one of them, the response is 304.",
        ),
        ("Cache-Control", "With `no-cache`, the server converts even if the result is cached."),
        (
            "Prefer",
            "With `respond-async`, the conversion becomes a job; with `wait=N` as well, only if it takes longer than N \
             seconds (60 at most); RFC 7240.",
        ),
        ("Content-Digest", "Digests of the body by SHA-256 or SHA-512, which the server checks; RFC 9530."),
        ("Repr-Digest", "The same as `Content-Digest`."),
    ] {
        parameters.push(header(name, about));
    }
    parameters.push(idempotency_key());
    parameters
}

pub fn idempotency_key() -> Value {
    let about = "A key that the client makes up for a job: the same key with the same content gets the same job. Spaces \
        need quotes around the key.";
    // Bare, or between quotes, where a backslash stands before quotes and backslashes.
    let pattern = r#"^([!#-~][!-~]{0,254}|"([ !#-\[\]-~]|\\["\\]){1,255}")$"#;
    parameter("Idempotency-Key", "header", about, &json!({ "type": "string", "pattern": pattern }))
}

/// A header of the request.
pub fn header(name: &str, description: &str) -> Value {
    parameter(name, "header", description, &json!({ "type": "string" }))
}

pub fn parameter(name: &str, place: &str, description: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": place, "description": description, "schema": schema })
}

pub fn body() -> Value {
    json!({
        "required": true,
        "description": "The model: a form with one or more parts named `file`, or the bytes of one file with any other \
            media type, named by `filename`. Several parts are the files of one model; a zip is unpacked.",
        "content": {
            "multipart/form-data": { "schema": {
                "type": "object",
                "required": ["file"],
                "properties": { "file": {
                    "type": "array",
                    "minItems": 1,
                    "items": { "type": "string", "format": "binary" },
                } },
            } },
            "application/octet-stream": {
                "schema": { "type": "string", "format": "binary", "minLength": 1 },
                "example": EXAMPLE,
            },
        },
    })
}
