//! Rate limit of conversions by client, checked before the request body is read.

use std::num::NonZeroU32;

use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderName};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::client::client;
use crate::config::Access;
use crate::domain::{Client, ErrorCode};
use crate::http::headers;
use crate::http::problem::Problem;
use crate::http::state::Shared;
use crate::http::upload::discard;
use crate::rate_limit::{Decision, Quota};

/// Headers of draft-ietf-httpapi-ratelimit-headers.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Extension of a response that took work. Other responses do not count.
#[derive(Clone)]
pub struct TookWork;

/// Extension of a request above the rate limit: the response to it, unless its result is cached.
#[derive(Clone)]
pub struct OverLimit(pub Problem);

/// Enforces the rate limit, and adds its headers to responses.
pub async fn limit_rate(State(gateway): State<Shared>, mut request: Request, next: Next) -> Response {
    let Some((who, quota)) = client_quota(request.extensions(), &gateway.access) else {
        return next.run(request).await;
    };
    let Decision { mut remaining, reset, ticket } = gateway.limiter.take(&who, quota).await;
    let mut response = if let Some(ticket) = ticket {
        let response = next.run(request).await;
        if response.extensions().get::<TookWork>().is_none() {
            gateway.limiter.give_back(ticket).await;
            remaining = remaining.saturating_add(1);
        }
        response
    } else {
        let seconds = quota.window.as_secs();
        let detail = format!("more than {} conversions were asked for in {seconds} s", quota.requests);
        let problem = Problem::new(ErrorCode::RateLimited, detail).with_retry_after(reset);
        if gateway.may_be_cached(request.body()) {
            request.extensions_mut().insert(OverLimit(problem));
            next.run(request).await
        } else {
            discard(request.into_body()).await;
            problem.into_response()
        }
    };
    let problem = response.extensions().get::<Problem>();
    if problem.is_some_and(|problem| problem.error.code == ErrorCode::RateLimited) {
        gateway.metrics.rate_limited();
    }
    // Rounded up, like `Retry-After`.
    let seconds = reset.as_secs_f64().ceil();
    let limit = format!("\"default\";r={remaining};t={seconds}");
    let policy = format!("\"default\";q={};w={}", quota.requests, quota.window.as_secs());
    for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, limit)] {
        headers::set(response.headers_mut(), name, &value);
    }
    response
}

/// Returns the client that the request counts for, and its quota; `None` if it has no limit.
fn client_quota(request: &Extensions, access: &Access) -> Option<(Client, Quota)> {
    let common = access.rate_limit;
    let client = client(request)?;
    let requests = match &client {
        Client::Key(name) => {
            let key = access.api_keys.iter().find(|key| key.name == **name)?;
            key.requests.unwrap_or(common.requests)
        }
        Client::Address(_) | Client::Local => common.requests,
    };
    Some((client, Quota { requests: NonZeroU32::new(requests)?, window: common.window }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::routing::post;
    use axum::{Extension, Router, middleware};
    use tower::ServiceExt;

    use super::*;
    use crate::config::{Config, Sources};
    use crate::http::state::Gateway;
    use crate::rate_limit::MemoryLimiter;

    /// Routes that respond with work (`/work`) and without (`/cached`).
    fn router(gateway: &Shared) -> Router {
        Router::new()
            .route("/work", post(async || Extension(TookWork)))
            .route("/cached", post(async || ()))
            .route_layer(middleware::from_fn_with_state(Arc::clone(gateway), limit_rate))
    }

    async fn ask(router: &Router, path: &str) -> (u16, String) {
        let mut request = Request::post(path).body(Body::empty()).unwrap();
        request.extensions_mut().insert(super::super::Address("192.0.2.1".parse().unwrap()));
        let response = router.clone().oneshot(request).await.unwrap();
        let header = response.headers()[RATE_LIMIT].to_str().unwrap();
        (response.status().as_u16(), header.split(';').nth(1).unwrap().to_owned())
    }

    #[tokio::test]
    async fn a_response_without_work_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let limit = [("RATE_LIMIT_REQUESTS".into(), "2".into()), ("RATE_LIMIT_WINDOW".into(), "3600".into())];
        let config = Config::load(&Sources::new(limit)).unwrap();
        let gateway = Gateway::without_engine(folder.path(), config, Arc::new(MemoryLimiter::default()));
        let router = router(&gateway);
        for (path, status, left) in [
            ("/cached", 200, "r=2"),
            ("/work", 200, "r=1"),
            ("/cached", 200, "r=1"),
            ("/cached", 200, "r=1"),
            ("/work", 200, "r=0"),
            // Above the limit, the handler is not called.
            ("/cached", 429, "r=0"),
            ("/work", 429, "r=0"),
        ] {
            assert_eq!(ask(&router, path).await, (status, left.to_owned()), "{path}");
        }
    }
}
