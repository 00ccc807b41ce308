//! How many conversions a client may ask for: decided before the body of the request is read.

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

/// As draft-ietf-httpapi-ratelimit-headers has them.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// In the extensions of a request that counts: whoever answers it without work gives it back.
#[derive(Clone)]
pub struct Counted {
    limiter: Arc<dyn Limiter>,
    /// None once it was given back.
    ticket: Arc<Mutex<Option<Ticket>>>,
}

/// The client may not send more, but what is known already costs no work: what it is told unless this is.
#[derive(Clone)]
pub struct Over(pub Problem);

impl Counted {
    /// The request does not count after all. Nothing happens the second time.
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

/// Lets requests through while their client may send more, and tells it how many that are.
pub async fn check(State(gateway): State<Shared>, mut request: Request, next: Next) -> Response {
    let Some((who, quota)) = counted(request.extensions(), &gateway.settings.access) else {
        return next.run(request).await;
    };
    let decision = gateway.limiter.take(&who, quota).await;
    let Some(ticket) = decision.ticket else {
        let problem = refusal(quota, decision.reset);
        let mut answer = if gateway.may_know(request.body()) {
            request.extensions_mut().insert(Over(problem));
            next.run(request).await
        } else {
            pass_over(request.into_body()).await;
            problem.into_response()
        };
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            gateway.metrics.rate_limited();
        }
        tell(&mut answer, quota, 0, decision.reset);
        return answer;
    };
    let limiter = Arc::clone(&gateway.limiter);
    let counted = Counted { limiter, ticket: Arc::new(Mutex::new(Some(ticket))) };
    request.extensions_mut().insert(counted.clone());
    let mut answer = next.run(request).await;
    let back = u32::from(counted.was_given_back());
    tell(&mut answer, quota, decision.remaining.saturating_add(back), decision.reset);
    answer
}

/// With whose requests this one is counted, and how many these may be; `None` where there is no limit.
fn counted(request: &Extensions, access: &Access) -> Option<(Client, Quota)> {
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

fn refusal(quota: Quota, again: Duration) -> Problem {
    let seconds = quota.window.as_secs();
    let detail = format!("more than {} conversions were asked for in {seconds} s", quota.requests);
    Problem { retry_after: Some(again), ..Problem::new(ErrorCode::RateLimited, detail) }
}

fn tell(answer: &mut Response, quota: Quota, remaining: u32, reset: Duration) {
    // As for `Retry-After`: no earlier than it is so.
    let seconds = reset.as_secs_f64().ceil();
    let policy = format!("\"default\";q={};w={}", quota.requests, quota.window.as_secs());
    for (name, value) in
        [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, format!("\"default\";r={remaining};t={seconds}"))]
    {
        if let Ok(value) = HeaderValue::try_from(value) {
            answer.headers_mut().insert(name, value);
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
    use crate::rate_limit::Embedded;

    /// Answers `/work` by work, and `/known` without any.
    fn router(gateway: &Shared) -> Router {
        let known = async |request: Request| {
            let counted: Counted = request.extensions().get().cloned().unwrap();
            counted.give_back().await;
            counted.give_back().await;
        };
        Router::new()
            .route("/work", post(async || ()))
            .route("/known", post(known))
            .route_layer(middleware::from_fn_with_state(Arc::clone(gateway), check))
    }

    async fn ask(router: &Router, path: &str) -> (u16, String) {
        let mut request = Request::post(path).body(Body::empty()).unwrap();
        request.extensions_mut().insert(super::super::Address("192.0.2.1".parse().unwrap()));
        let answer = router.clone().oneshot(request).await.unwrap();
        let told = answer.headers()[RATE_LIMIT].to_str().unwrap();
        (answer.status().as_u16(), told.split(';').nth(1).unwrap().to_owned())
    }

    #[tokio::test]
    async fn what_costs_no_work_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let limit = [("RATE_LIMIT_REQUESTS".into(), "2".into()), ("RATE_LIMIT_WINDOW".into(), "3600".into())];
        let access = Config::load(&Sources::new(limit)).unwrap().access;
        let gateway = Gateway::without_engine(folder.path(), access, Arc::new(Embedded::default()));
        let router = router(&gateway);
        for (path, status, left) in [
            ("/known", 200, "r=2"),
            ("/work", 200, "r=1"),
            ("/known", 200, "r=1"),
            ("/known", 200, "r=1"),
            ("/work", 200, "r=0"),
            // Whether it is known is not looked at before it may come in.
            ("/known", 429, "r=0"),
            ("/work", 429, "r=0"),
        ] {
            assert_eq!(ask(&router, path).await, (status, left.to_owned()), "{path}");
        }
    }
}
