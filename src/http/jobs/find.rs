//! Finds the job that a request names.

use std::time::SystemTime;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::Extensions;
use uuid::Uuid;

use super::errors;
use crate::domain::{Client, ErrorCode};
use crate::http::middleware;
use crate::http::problem::Problem;
use crate::http::state::Gateway;
use crate::jobs::Job;
use crate::storage::Storage;

/// The ID in the path.
pub type PathId = Result<Path<Uuid>, PathRejection>;

/// Returns the job, if the client of the request may see it. A job of another client is never found, however old it is,
/// nor is that of a synchronous request.
///
/// # Errors
/// `not_found`, `expired`, `jobs_unavailable`.
pub async fn find(gateway: &Gateway, id: PathId, request: &Extensions) -> Result<Job, Problem> {
    let Path(id) = id.map_err(|_| errors::absent())?;
    let job = gateway.jobs.queue().job(id).await.map_err(|error| errors::unavailable(&error))?;
    let job = job.ok_or_else(|| gone(gateway, id))?;
    let client = middleware::client(request).unwrap_or_default();
    let is_seen = is_visible(&job.spec.client, &client) && !job.spec.is_of_request();
    if is_seen { Ok(job) } else { Err(errors::absent()) }
}

/// The problem of an ID without a record: the job has expired if the ID is old enough.
fn gone(gateway: &Gateway, id: Uuid) -> Problem {
    if Storage::is_older(id, gateway.jobs.ttl(), SystemTime::now()) {
        return Problem::new(ErrorCode::Expired, "the job with this ID has expired");
    }
    errors::absent()
}

/// Whether a client may see the jobs of an owner. Clients without a key are known by addresses, which change, so they see
/// every job without a key whose ID they know.
fn is_visible(owner: &Client, client: &Client) -> bool {
    match (owner, client) {
        (Client::Key(owner), Client::Key(client)) => owner == client,
        (Client::Key(_), _) | (_, Client::Key(_)) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Config, Sources};
    use crate::http::middleware::KeyName;
    use crate::jobs::{JobSpec, NewJob, Priority, Submission};
    use crate::rate_limit::MemoryLimiter;

    #[tokio::test]
    async fn an_old_job_of_another_client_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::load(&Sources::new([])).unwrap();
        let gateway = Gateway::without_engine(folder.path(), config, Arc::new(MemoryLimiter::default()));
        // From February 2022. Its record may be younger, or its job may still run.
        let id: Uuid = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f".parse().unwrap();
        let look = async |name: &str| {
            let mut request = Extensions::new();
            request.insert(KeyName(name.into()));
            let found = find(&gateway, Ok(Path(id)), &request).await;
            found.map(|job| job.id).map_err(|problem| problem.error.code)
        };
        for name in ["a", "b"] {
            assert_eq!(look(name).await, Err(ErrorCode::Expired));
        }
        let spec = JobSpec::sample(Client::Key("a".into()));
        let submitted = gateway.jobs.queue().submit(NewJob { id, spec, idempotency: None }).await;
        assert!(matches!(submitted, Ok(Submission::New(_))));
        assert_eq!(look("a").await, Ok(id));
        assert_eq!(look("b").await, Err(ErrorCode::NotFound));
        gateway.jobs.queue().remove(id).await.unwrap();
        let spec = JobSpec { priority: Priority::Request, ..JobSpec::sample(Client::Key("a".into())) };
        gateway.jobs.queue().submit(NewJob { id, spec, idempotency: None }).await.unwrap();
        assert_eq!(look("a").await, Err(ErrorCode::NotFound));
    }

    #[test]
    fn a_job_with_a_key_is_visible_to_that_key_only() {
        let key = |name: &str| Client::Key(name.into());
        let address = |last: u8| Client::address([192, 0, 2, last].into());
        for (owner, client, visible) in [
            (key("a"), key("a"), true),
            (key("a"), key("b"), false),
            (key("a"), address(1), false),
            (address(1), key("a"), false),
            (address(1), address(1), true),
            (address(1), address(2), true),
            (Client::Local, address(1), true),
        ] {
            assert_eq!(is_visible(&owner, &client), visible, "{owner} {client}");
        }
    }
}
