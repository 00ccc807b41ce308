//! How many conversions a client may ask for: decided before the body of the request is read.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Client, KeyName};
use crate::config::Access;
use crate::domain::ErrorCode;
use crate::http::problem::Problem;
use crate::http::state::Shared;
use crate::limits::{Limiter, Quota, Ticket, Who};

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
        gateway.metrics.rate_limited();
        let mut answer = refusal(quota, decision.reset).into_response();
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
fn counted(request: &Extensions, access: &Access) -> Option<(Who, Quota)> {
    let common = access.rate_limit;
    let (who, requests) = match request.get::<KeyName>() {
        Some(KeyName(name)) => {
            let key = access.api_keys.iter().find(|key| key.name == **name)?;
            (Who::Key(Arc::clone(name)), key.requests.unwrap_or(common.requests))
        }
        None => (Who::address(request.get::<Client>()?.0), common.requests),
    };
    Some((who, Quota { requests: NonZeroU32::new(requests)?, window: common.window }))
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
