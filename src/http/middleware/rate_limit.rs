//! Rate limit of conversions by client, checked before the request body is read.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::Access;
use crate::domain::{Client, ErrorCode};
use crate::http::problem::Problem;
use crate::http::state::Shared;
use crate::http::upload::pass_over;
use crate::rate_limit::{Limiter, Quota, Ticket};

/// Headers of draft-ietf-httpapi-ratelimit-headers.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Extension of a request that counts. A handler that responds without work gives the ticket back.
#[derive(Clone)]
pub struct Counted {
    limiter: Arc<dyn Limiter>,
    /// `None` once it was given back.
    ticket: Arc<Mutex<Option<Ticket>>>,
}

/// Extension of a request above the rate limit: the response to it, unless its result is cached.
#[derive(Clone)]
pub struct Over(pub Problem);

impl Counted {
    /// Stops counting the request; further calls do nothing.
    pub async fn give_back(&self) {
        let ticket = self.ticket.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ticket) = ticket {
            self.limiter.give_back(ticket).await;
        }
    }

    fn was_given_back(&self) -> bool {
        self.ticket.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

/// Enforces the rate limit, and adds its headers to responses.
pub async fn check(State(gateway): State<Shared>, mut request: Request, next: Next) -> Response {
    let Some((who, quota)) = client_quota(request.extensions(), &gateway.settings.access) else {
        return next.run(request).await;
    };
    let decision = gateway.limiter.take(&who, quota).await;
    let Some(ticket) = decision.ticket else {
        let problem = refusal(quota, decision.reset);
        let mut response = if gateway.may_know(request.body()) {
            request.extensions_mut().insert(Over(problem));
            next.run(request).await
        } else {
            pass_over(request.into_body()).await;
            problem.into_response()
        };
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            gateway.metrics.rate_limited();
        }
        add_headers(&mut response, quota, 0, decision.reset);
        return response;
    };
    let limiter = Arc::clone(&gateway.limiter);
    let counted = Counted { limiter, ticket: Arc::new(Mutex::new(Some(ticket))) };
    request.extensions_mut().insert(counted.clone());
    let mut response = next.run(request).await;
    let back = u32::from(counted.was_given_back());
    add_headers(&mut response, quota, decision.remaining.saturating_add(back), decision.reset);
    response
}

/// Returns the client that the request counts for, and its quota; `None` if it has no limit.
fn client_quota(request: &Extensions, access: &Access) -> Option<(Client, Quota)> {
    let common = access.rate_limit;
    let client = super::client(request)?;
    let requests = match &client {
        Client::Key(name) => {
            let key = access.api_keys.iter().find(|key| key.name == **name)?;
            key.requests.unwrap_or(common.requests)
        }
        Client::Address(_) | Client::Local => common.requests,
    };
    Some((client, Quota { requests: NonZeroU32::new(requests)?, window: common.window }))
}

fn refusal(quota: Quota, retry_after: Duration) -> Problem {
    let seconds = quota.window.as_secs();
    let detail = format!("more than {} conversions were asked for in {seconds} s", quota.requests);
    Problem { retry_after: Some(retry_after), ..Problem::new(ErrorCode::RateLimited, detail) }
}

fn add_headers(response: &mut Response, quota: Quota, remaining: u32, reset: Duration) {
    // Rounded up, like `Retry-After`.
    let seconds = reset.as_secs_f64().ceil();
    let policy = format!("\"default\";q={};w={}", quota.requests, quota.window.as_secs());
    for (name, value) in
        [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, format!("\"default\";r={remaining};t={seconds}"))]
    {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::post;
    use axum::{Router, middleware};
    use tower::ServiceExt;

    use super::*;
    use crate::config::{Config, Sources};
    use crate::http::state::Gateway;
    use crate::rate_limit::MemoryLimiter;

    /// Routes that respond with work (`/work`) and without (`/cached`).
    fn router(gateway: &Shared) -> Router {
        let cached = async |request: Request| {
            let counted: Counted = request.extensions().get().cloned().unwrap();
            counted.give_back().await;
            counted.give_back().await;
        };
        Router::new()
            .route("/work", post(async || ()))
            .route("/cached", post(cached))
            .route_layer(middleware::from_fn_with_state(Arc::clone(gateway), check))
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
        let access = Config::load(&Sources::new(limit)).unwrap().access;
        let gateway = Gateway::without_engine(folder.path(), access, Arc::new(MemoryLimiter::default()));
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
