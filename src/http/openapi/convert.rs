//! The operation `POST /convert`: parameters (from the tables of options and formats), request bodies, and responses.

use serde_json::{Map, Value, json};

use super::responses::{codes, count, errors, named, security};
use super::schemas::Schemas;
use crate::domain::format::TABLE;
use crate::domain::{ErrorCode, Options, options};

/// A triangle as OBJ: the smallest model.
const EXAMPLE: &str = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n";

/// Codes that a conversion never responds with: the first three belong to other routes, the fourth to the command line,
/// and the last to clients that hung up.
const EXCLUDED: [ErrorCode; 5] = [
    ErrorCode::NotFound,
    ErrorCode::Expired,
    ErrorCode::MethodNotAllowed,
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

pub fn describe(operation: &mut Value, schemas: &mut Schemas) {
    operation["parameters"] = parameters(schemas).into();
    operation["requestBody"] = body();
    let possible: Vec<_> =
        codes().into_iter().map(|(code, _)| code).filter(|code| !EXCLUDED.contains(code)).collect();
    let mut responses = errors(&possible, true);
    responses.insert("200".to_owned(), result());
    responses.insert("303".to_owned(), redirect());
    responses.insert("304".to_owned(), not_modified());
    // Requests without a key are not counted.
    responses.iter_mut().filter(|(status, _)| *status != "401").for_each(|(_, response)| count(response));
    for status in ["415", "422", "500", "503", "504", "507"] {
        if let Some(headers) = responses[status]["headers"].as_object_mut() {
            headers.extend(named(&["Meshgate-Cache"]));
        }
    }
    operation["responses"] = responses.into();
    operation["security"] = security();
}

fn parameters(schemas: &mut Schemas) -> Vec<Value> {
    let names: Vec<_> = TABLE.iter().map(|info| info.name).collect();
    let mut parameters = vec![
        json!({
            "name": "output_format",
            "in": "query",
            "required": true,
            "description": "The target format.",
            "schema": { "type": "string", "enum": names },
            "example": "glb",
        }),
        json!({
            "name": "filename",
            "in": "query",
            "description": "The file name of a raw body; form parts have their own file names.",
            "schema": { "type": "string" },
            "example": "triangle.obj",
        }),
        json!({
            "name": "main",
            "in": "query",
            "description": "The name of the main file, if several files could be the model.",
            "schema": { "type": "string" },
        }),
    ];
    let mut properties = schemas.properties::<Options>();
    parameters.extend(options::TABLE.iter().map(|info| {
        let mut help = info.help.to_owned();
        if let Some(first) = help.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let mut schema = properties.remove(info.name).unwrap_or_default();
        if let Some(schema) = schema.as_object_mut() {
            schema.remove("description");
            // Swagger UI shows a plain enum better than a reference to one with a description for each value.
            if schema.remove("$ref").is_some() {
                schema.insert("type".to_owned(), json!("string"));
                schema.insert("enum".to_owned(), info.values().split('|').collect());
            }
        }
        json!({ "name": info.name, "in": "query", "description": format!("{help}."), "schema": schema })
    }));
    parameters.extend([
        json!({
            "name": "If-None-Match",
            "in": "header",
            "description": "`ETag`s of results that the client has; if the result is one of them, the response is 304.",
            "schema": { "type": "string" },
        }),
        json!({
            "name": "Cache-Control",
            "in": "header",
            "description": "With `no-cache`, the server converts even if the result is cached.",
            "schema": { "type": "string" },
        }),
    ]);
    parameters
}

fn body() -> Value {
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

fn result() -> Value {
    let types = TABLE.iter().map(|info| info.media_type).chain(["application/zip"]);
    let content: Map<String, Value> = types
        .map(|name| (name.to_owned(), json!({ "schema": { "type": "string", "format": "binary" } })))
        .collect();
    json!({
        "description": "The converted file, or a zip of several files (see `packaging`).",
        "headers": named(&HEADERS),
        "content": content,
    })
}

fn redirect() -> Value {
    let mut headers = named(&HEADERS);
    headers.extend(named(&["Location"]));
    json!({
        "description": "A large result, at `Location` for a limited time; only if the operator redirects clients to \
            the bucket.",
        "headers": headers,
    })
}

fn not_modified() -> Value {
    json!({
        "description": "The client has the result: `If-None-Match` names its `ETag`.",
        "headers": named(&HEADERS),
    })
}
