//! The OpenAPI 3.1 document, generated from the handlers, the tables of the domain and the types' schemas.

mod convert;
mod jobs;
mod responses;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::{convert as convert_handler, formats, health, reports};
use crate::domain::{ErrorCode, Report};
use crate::http::problem;
use responses::{errors, response};

const JSON: &str = "application/json";

const ABOUT: &str = "\
Converts 3D models and motions between formats, with Blender as its engine.

Every error is an `application/problem+json` (RFC 9457) with a stable `code`; `error` repeats its `detail`. Besides \
the errors listed with each operation, any request may get:

- 400 `malformed_request`: the request is not valid HTTP.
- 404 `not_found`: the path does not exist.
- 405 `method_not_allowed`: the path does not support the method; `Allow` lists the methods that it supports.
- 413 `too_large`: the announced length of the body is too large.
- 431 `head_too_large`: the request line and headers are too long.
- 500 `internal`: an internal error occurred.
- 501 `unsupported_transfer_coding`: the body has a transfer coding other than chunked.
- 503 `too_many_connections`: the connection limit is reached; retry after `Retry-After` seconds. Probes and \
`/metrics` are exempt.

If the operator has set API keys, operations marked with a lock require one. The server takes the request ID from \
`X-Request-Id` if that has 1 to 128 letters, digits or `-_.:/`, and otherwise generates one; the ID is in every \
response and in the server's log. Behind trusted proxies, the server reads the client's address from \
`X-Forwarded-For` and ignores `Forwarded`.

If the operator has set a rate limit, it applies to each client: an API key, or otherwise an IP address (of IPv6 a \
/64). `RateLimit-Policy` shows how many conversions a client may request in a sliding window, and `RateLimit` how \
many are left. Further requests get 429 (`rate_limited`) with `Retry-After`, before a body of more than 256 KiB is \
read. Only conversions and new jobs count; cached results, refused requests and reports do not.

A job belongs to the API key that submitted it, and does not exist for others. Jobs that were submitted without a key \
are visible to every client without one that knows their ID, which cannot be guessed.

Responses must not be cached (`Cache-Control: no-store`), with two exceptions. Clients may cache results and single \
jobs (`private, no-cache`), and revalidate them with `If-None-Match` before each use. The files of `/apidocs/` may be \
cached, too.";

#[derive(OpenApi)]
#[openapi(
    info(title = "Meshgate"),
    paths(
        convert_handler::convert,
        formats::formats,
        reports::report,
        super::jobs::submit::submit_job,
        super::jobs::list::list_jobs,
        super::jobs::get::get_job,
        super::jobs::actions::remove_job,
        super::jobs::result::get_result,
        super::jobs::events::job_events,
        super::jobs::actions::cancel_job,
        super::jobs::actions::retry_job,
        super::jobs::actions::redeliver_webhook,
        health::health,
        health::live,
        health::ready,
        metrics,
        openapi,
        super::docs_ui::page,
    ),
    tags(
        (name = "conversion", description = "Conversions, formats and reports"),
        (name = "jobs", description = "Conversions that are accepted for later"),
        (name = "watching", description = "Probes and metrics for operators; no API key needed"),
        (name = "document", description = "The OpenAPI document"),
    )
)]
struct Operations;

/// Get metrics for Prometheus
///
/// Prometheus' text format. If the operator serves metrics at a separate address, this path is 404.
#[utoipa::path(get, path = "/metrics", tag = "watching")]
#[allow(dead_code)]
fn metrics() {}

/// The whole document.
pub fn document() -> Value {
    // OpenAPI 3.1 uses JSON Schema 2020-12, with shared schemas in another place.
    let mut schemas = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .for_serialize()
        .into_generator();
    let mut document = serde_json::to_value(Operations::openapi()).unwrap_or_default();
    document["info"] = json!({
        "title": "Meshgate",
        "version": env!("CARGO_PKG_VERSION"),
        "description": ABOUT,
        "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
    });
    document["servers"] = json!([{ "url": "/" }]);
    let paths = &mut document["paths"];
    paths["/v1/convert"] = paths["/convert"].clone();
    paths["/v1/convert"]["post"]["operationId"] = json!("convert_v1");
    for path in ["/convert", "/v1/convert"] {
        convert::describe(&mut paths[path]["post"], &mut schemas);
    }
    jobs::describe(paths, &mut schemas);
    let text = json!({ "type": "string" });
    let report_errors =
        [ErrorCode::NotFound, ErrorCode::Expired, ErrorCode::ShuttingDown, ErrorCode::Overloaded];
    for (path, media_type, schema, codes, locked) in [
        ("/v1/formats", JSON, schemas.subschema_for::<formats::Listing>().to_value(), &[][..], true),
        ("/v1/reports/{id}", JSON, schemas.subschema_for::<Report>().to_value(), &report_errors, true),
        ("/health", JSON, schemas.subschema_for::<health::Health>().to_value(), &[], false),
        ("/livez", JSON, schemas.subschema_for::<health::Status>().to_value(), &[], false),
        ("/readyz", JSON, schemas.subschema_for::<health::Readiness>().to_value(), &[], false),
        ("/metrics", "text/plain", text.clone(), &[ErrorCode::NotFound], false),
        ("/openapi.json", JSON, json!({ "type": "object" }), &[], false),
        ("/apidocs/", "text/html", text, &[], false),
    ] {
        let operation = &mut paths[path]["get"];
        let mut responses = errors(codes, locked);
        responses.insert("200".to_owned(), response("Success.", media_type, &schema));
        if path == "/readyz" {
            let not_ready = response("Not ready; `checks` shows why.", media_type, &schema);
            responses.insert("503".to_owned(), not_ready);
        }
        operation["responses"] = responses.into();
        if locked {
            operation["security"] = responses::security();
        }
    }
    schemas.subschema_for::<problem::Body>();
    document["components"] = json!({
        "schemas": schemas.take_definitions(true),
        "headers": responses::headers(),
        "securitySchemes": {
            "bearer": { "type": "http", "scheme": "bearer", "description": "An API key" },
            "key": {
                "type": "apiKey",
                "in": "header",
                "name": "X-Api-Key",
                "description": "An API key, in another header",
            },
        },
    });
    document
}

/// The document as text that ends with a line break.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));
    &TEXT
}

/// Get this document
///
/// OpenAPI 3.1; `meshgate openapi` prints the same document.
#[utoipa::path(get, path = "/openapi.json", tag = "document")]
pub async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, JSON)], text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_current() {
        let committed = include_str!("../../../docs/openapi.json");
        assert!(committed == text(), "run: meshgate openapi > docs/openapi.json");
    }

    #[test]
    fn every_route_is_in_the_document() {
        let document = document();
        let routes: Vec<_> = include_str!("../router.rs")
            .split("#[cfg(test)]")
            .next()
            .unwrap_or_default()
            .split(".route(\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .filter(|route| !["/apidocs", "/apidocs/{file}"].contains(route))
            .collect();
        assert!(routes.len() >= 9, "{routes:?}");
        for route in routes {
            assert!(document["paths"].get(route).is_some(), "{route} is not in the document");
        }
    }

    #[test]
    fn every_reference_has_a_target() {
        fn walk<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(Value::as_str));
                    map.values().for_each(|value| walk(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
                _ => (),
            }
        }
        let document = document();
        let mut references = Vec::new();
        walk(&document, &mut references);
        assert!(references.len() > 20, "{references:?}");
        for reference in references {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn every_http_error_code_belongs_to_an_operation() {
        let document = document();
        let text = document["paths"].to_string();
        for (code, _) in responses::codes() {
            // Clients that hung up see no code; the word is also a state of jobs.
            if code == ErrorCode::Cancelled {
                continue;
            }
            // The last one belongs to the command line.
            let elsewhere = [ErrorCode::MethodNotAllowed, ErrorCode::OutputExists].contains(&code);
            assert_eq!(text.contains(&format!("\"{code}\"")), !elsewhere, "{code}");
        }
    }
}
