//! Routes, and the middleware around them.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;

use super::middleware::{api_keys, cors, log_request, rate_limit, real_ip, request_id};
use super::problem::{self, Problem};
use super::state::{Role, Shared};
use super::{convert, docs_ui, formats, health, jobs, metrics, openapi, reject, reports};
use crate::domain::ErrorCode;

/// Largest body that an extractor buffers, in bytes. Models are streamed instead.
const SMALL_BODY: usize = 64 << 10;

/// The whole API; of a worker, only probes and `/metrics`.
pub fn router(gateway: Shared) -> Router {
    let router = if gateway.settings.metrics.is_some() { Router::new() } else { metrics_routes() };
    let router = probe_routes(router);
    let router = if gateway.role == Role::Gateway { api_routes(router, &gateway) } else { router };
    add_layers(router, gateway)
}

/// Adds what clients use.
fn api_routes(router: Router<Shared>, gateway: &Shared) -> Router<Shared> {
    // Only conversions and new jobs have a rate limit.
    let limit = from_fn_with_state(Arc::clone(gateway), rate_limit::limit_rate);
    let as_job = from_fn_with_state(Arc::clone(gateway), jobs::respond_async::respond_async);
    let vary = from_fn(jobs::respond_async::vary);
    let convert = post(convert::convert).route_layer(as_job).route_layer(limit.clone()).route_layer(vary);
    let jobs = post(jobs::submit::submit_job).route_layer(limit.clone()).get(jobs::list::list_jobs);
    router
        .route("/convert", convert.clone())
        .route("/v1/convert", convert)
        .route("/v1/jobs", jobs)
        .route("/v1/jobs/{id}", get(jobs::get::get_job).delete(jobs::actions::remove_job))
        .route("/v1/jobs/{id}/result", get(jobs::result::get_result))
        .route("/v1/jobs/{id}/events", get(jobs::events::job_events))
        .route("/v1/jobs/{id}/cancel", post(jobs::actions::cancel_job))
        .route("/v1/jobs/{id}/retry", post(jobs::actions::retry_job).route_layer(limit))
        .route("/v1/jobs/{id}/webhook/redeliver", post(jobs::actions::redeliver_webhook))
        .route("/v1/formats", get(formats::formats))
        .route("/v1/reports/{id}", get(reports::report))
        .route("/openapi.json", get(openapi::openapi))
        .route("/apidocs", get(docs_ui::to_page))
        .route("/apidocs/", get(docs_ui::page))
        .route("/apidocs/{file}", get(docs_ui::file))
}

/// `/metrics` and the probes for a listener of their own: they work even when all connections of the API are taken.
pub fn metrics_router(gateway: Shared) -> Router {
    add_layers(probe_routes(metrics_routes()), gateway)
}

fn probe_routes(router: Router<Shared>) -> Router<Shared> {
    router
        .route("/health", get(health::health))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
}

fn metrics_routes() -> Router<Shared> {
    Router::new().route("/metrics", get(metrics::metrics))
}

/// Adds the fallbacks and the middleware of all routes; the layer added last is the outermost.
fn add_layers(router: Router<Shared>, gateway: Shared) -> Router {
    let router = router.method_not_allowed_fallback(method_not_allowed);
    let router = match gateway.role {
        Role::Gateway => router
            .fallback(not_found)
            .layer(DefaultBodyLimit::max(SMALL_BODY))
            .layer(from_fn_with_state(Arc::clone(&gateway), api_keys::require_api_key)),
        // No path there needs a key.
        Role::Worker => router.fallback(only_probes),
    };
    router
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(Arc::clone(&gateway), reject::reject_refused))
        // Outside the key check: a browser's preflight request has no key.
        .layer(option_layer(cors::layer(&gateway.access.cors_origins)))
        .layer(from_fn(safe_headers))
        .layer(from_fn(problem::add_request_id))
        .layer(from_fn_with_state(Arc::clone(&gateway), log_request::log))
        .layer(from_fn_with_state(Arc::clone(&gateway), real_ip::set_client_address))
        .layer(from_fn(request_id::set_request_id))
        .with_state(gateway)
}

async fn not_found() -> Problem {
    Problem::new(ErrorCode::NotFound, "no such path; see /apidocs/")
}

async fn only_probes() -> Problem {
    let detail =
        "this process is a worker, which only answers probes and /metrics; send requests to a gateway";
    Problem::new(ErrorCode::NotFound, detail)
}

async fn method_not_allowed() -> Problem {
    Problem::new(ErrorCode::MethodNotAllowed, "method not allowed")
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a handler panicked");
    Problem::new(ErrorCode::Internal, "the request failed because of an internal error").into_response()
}

/// Adds security headers, so that no response is sniffed, framed or run, not even a model that contains a page. Forbids
/// caching unless the response has its own `Cache-Control`: results, and the files of `/apidocs/`.
async fn safe_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_gets_the_same_response_as_other_errors() {
        async fn panics() {
            panic!("of its own accord, with /a/path");
        }
        let router: Router = Router::new()
            .route("/", get(panics))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn(problem::add_request_id))
            .layer(from_fn(request_id::set_request_id));
        for _ in 0..2 {
            let request =
                Request::builder().uri("/").header("x-request-id", "17").body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 500);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&problem["code"], &problem["request_id"]), (&"internal".into(), &"17".into()));
            assert!(!problem.to_string().contains("path"), "{problem}");
        }
    }
}
