//! The OpenAPI 3.1 document, generated from the handlers, the tables of the domain and the types' schemas.

mod convert;
mod responses;
mod schemas;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::{convert as convert_handler, formats, health, reports};
use responses::{Answer, errors};
use schemas::Schemas;

use crate::domain::ErrorCode;

const ABOUT: &str = "\
Converts 3D models and motions between formats, with Blender as its engine.

Every error is an `application/problem+json` (RFC 9457) with a stable `code`; `error` repeats its `detail`. Besides \
what is listed with each call, an address that does not exist answers 404 (`not_found`) and a method that an address \
does not take 405 (`method_not_allowed`, with `Allow`), what is no HTTP request 400 (`malformed_request`), a head above \
its limit 431 (`head_too_large`), a body that is announced as longer than can be counted 413 (`too_large`), one with a \
transfer coding besides chunked 501 (`unsupported_transfer_coding`), where as many connections are open as may, every call but the probes 503 \
(`too_many_connections`, with `Retry-After`), and a mistake of the server's own 500 (`internal`).

Where the operator has set API keys, calls marked with a lock need one. `X-Request-Id` is taken from the request where \
it is 1 to 128 letters, digits or `-_.:/`, else made; it is in every answer and in the server's log. Behind trusted \
proxies, the client is read from `X-Forwarded-For`; `Forwarded` is not read.

Where the operator has set a limit, a client (an API key, else an address; of IPv6 a /64) may ask for so many conversions \
in any stretch of time of a certain length: `RateLimit-Policy` says how many and how long, `RateLimit` how many are left. \
One more is answered 429 (`rate_limited`) with `Retry-After`, before a body of more than 256 KiB is read. Only \
conversions count: neither what is known already, nor what is refused, nor reports.

Caches may not keep what is answered (`Cache-Control: no-store`), except results, which only their client may keep \
(`private, no-cache`) to ask with `If-None-Match` whether they are still the same, and the parts of `/apidocs/`.";

#[derive(OpenApi)]
#[openapi(
    info(title = "Meshgate"),
    paths(
        convert_handler::convert,
        formats::formats,
        reports::report,
        health::health,
        health::live,
        health::ready,
        metrics,
        openapi,
        super::docs_ui::page,
    ),
    tags(
        (name = "conversion", description = "A model in, a file out"),
        (name = "watching", description = "For operators and their machines; needs no key"),
        (name = "document", description = "This document"),
    )
)]
struct Operations;

/// Figures for Prometheus
///
/// In its text format. Where the operator gave figures an address of their own, there is nothing here.
#[utoipa::path(get, path = "/metrics", tag = "watching")]
#[allow(dead_code)]
fn metrics() {}

/// The whole document.
pub fn document() -> Value {
    let mut schemas = Schemas::default();
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
    for (path, answers, codes, locked) in [
        ("/v1/formats", Answer::json::<formats::Listing>(&mut schemas), &[][..], true),
        (
            "/v1/reports/{id}",
            Answer::json::<crate::domain::Report>(&mut schemas),
            &[ErrorCode::NotFound, ErrorCode::Expired, ErrorCode::ShuttingDown, ErrorCode::Overloaded],
            true,
        ),
        ("/health", Answer::json::<health::Health>(&mut schemas), &[], false),
        ("/livez", Answer::json::<health::Status>(&mut schemas), &[], false),
        ("/readyz", Answer::json::<health::Readiness>(&mut schemas), &[], false),
        ("/metrics", Answer::text("text/plain"), &[ErrorCode::NotFound], false),
        ("/openapi.json", Answer::object(), &[], false),
        ("/apidocs/", Answer::text("text/html"), &[], false),
    ] {
        let operation = &mut paths[path]["get"];
        let mut responses = errors(codes, locked);
        responses.insert("200".to_owned(), answers.response("As asked."));
        if path == "/readyz" {
            responses.insert("503".to_owned(), answers.response("Not ready; `checks` says why."));
        }
        operation["responses"] = responses.into();
        if locked {
            operation["security"] = responses::security();
        }
    }
    document["components"] = json!({
        "schemas": schemas.finish(),
        "headers": responses::headers(),
        "securitySchemes": {
            "bearer": { "type": "http", "scheme": "bearer", "description": "An API key" },
            "key": { "type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "The same, for clients without `Authorization`" },
        },
    });
    document
}

/// The document as text that ends with a line break.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));
    &TEXT
}

/// This document
///
/// OpenAPI 3.1; `meshgate openapi` prints the same.
#[utoipa::path(get, path = "/openapi.json", tag = "document")]
pub async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text())
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
    fn every_reference_leads_somewhere() {
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
    fn every_code_of_http_is_with_an_operation() {
        let document = document();
        let text = document["paths"].to_string();
        for (code, _) in responses::codes() {
            // The last two belong to the command line, and to clients that hung up.
            let elsewhere =
                [ErrorCode::MethodNotAllowed, ErrorCode::OutputExists, ErrorCode::Cancelled].contains(&code);
            assert_eq!(text.contains(&format!("\"{code}\"")), !elsewhere, "{code}");
        }
    }
}
