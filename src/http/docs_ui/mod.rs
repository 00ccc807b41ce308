//! `/apidocs/`: Swagger UI for the OpenAPI document, without external resources.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};

use super::problem::Problem;
use crate::domain::ErrorCode;

const PAGE: &str = include_str!("index.html");
const START: &str = include_str!("start.js");
const STYLE: &str = include_str!("style.css");

/// The files of Swagger UI that the page loads.
const FILES: [&str; 3] = ["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"];

/// Allows only own resources. Swagger UI sets styles from its script, and has its images in its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Browse this document
///
/// Swagger UI; the page loads nothing from other servers.
#[utoipa::path(get, path = "/apidocs/", tag = "document")]
pub async fn page() -> Response {
    respond("text/html; charset=utf-8", PAGE.replace("{version}", env!("CARGO_PKG_VERSION")))
}

/// Redirects `/apidocs` to `/apidocs/`: relative addresses in the page need the slash.
pub async fn to_page() -> Redirect {
    Redirect::permanent("apidocs/")
}

pub async fn file(name: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let file = match name.as_str() {
        "start.js" => Some(respond("text/javascript; charset=utf-8", START)),
        "style.css" => Some(respond("text/css; charset=utf-8", STYLE)),
        name if FILES.contains(&name) => {
            let file = utoipa_swagger_ui::serve(name, Arc::default()).ok().flatten();
            file.map(|file| respond(&file.content_type, file.bytes))
        }
        _ => None,
    };
    file.ok_or_else(|| Problem::new(ErrorCode::NotFound, "/apidocs/ has no such file"))
}

fn respond(media_type: &str, content: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // Files of different versions do not fit together.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    let content: Body = content.into();
    (headers, content).into_response()
}
