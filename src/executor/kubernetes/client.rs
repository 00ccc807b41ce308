//! Requests to the API server: each has a time limit, and is tried again while the server is away or overloaded.
//!
//! The requests are sent one level below `kube::Api`, which hides the header `Retry-After`.

use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Event;
use kube::Resource;
use kube::api::{DeleteParams, GetParams, ListParams, ObjectList, PostParams, Request};
use kube::client::{Body, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use super::backoff::Backoff;
use super::error::{Action, Error, Trouble};

/// Time limit of one request.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// How often a request is tried in all.
const TRIES: u32 = 5;

/// Pause between two tries: at first, and at most.
pub const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
pub const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Longest pause that the API server may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

const RETRY_AFTER: &str = "retry-after";

/// Sends requests about the objects of one namespace.
#[derive(Clone)]
pub struct ApiServer {
    pub client: Client,
    pub namespace: String,
}

/// A request.
enum Operation<'a> {
    Create(&'a Job),
    Get {
        resource: &'static str,
        /// The path of all objects of this kind.
        path: &'a str,
        name: &'a str,
    },
    Delete(&'a str, &'a DeleteParams),
    ListEvents(&'a ListParams),
    Review(&'a SelfSubjectAccessReview),
}

impl Operation<'_> {
    const fn action(&self) -> Action {
        match self {
            Operation::Create(_) => Action { verb: "create", resource: "jobs" },
            Operation::Get { resource, .. } => Action { verb: "get", resource },
            Operation::Delete(..) => Action { verb: "delete", resource: "jobs" },
            Operation::ListEvents(_) => Action { verb: "list", resource: "events" },
            Operation::Review(_) => Action { verb: "create", resource: "selfsubjectaccessreviews" },
        }
    }

    /// Whether the same request makes sense after this error.
    fn may_retry(&self, error: &Error) -> bool {
        // A Job that is created conflicts with changes of a quota; one that is deleted, with its own replacement.
        error.is_passing() || (error.trouble == Trouble::Conflict && matches!(self, Operation::Create(_)))
    }
}

impl ApiServer {
    /// Creates a Job.
    ///
    /// # Errors
    /// [`Trouble::AlreadyExists`], also if an earlier try did create it; and any other one.
    pub async fn create(&self, job: &Job) -> Result<(), Error> {
        self.ask(&Operation::Create(job)).await.map(drop)
    }

    /// Returns the object with this name; `None` if there is none. `resource` is what RBAC calls its kind.
    pub async fn get<K>(&self, resource: &'static str, name: &str) -> Result<Option<K>, Error>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let path = K::url_path(&(), Some(self.namespace.as_str()));
        let operation = Operation::Get { resource, path: &path, name };
        match self.ask(&operation).await {
            Ok(body) => decode(operation.action(), &body).map(Some),
            Err(error) if error.trouble == Trouble::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a Job. It is no error if there is none.
    pub async fn delete(&self, name: &str, params: &DeleteParams) -> Result<(), Error> {
        match self.ask(&Operation::Delete(name, params)).await {
            Err(error) if error.trouble != Trouble::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns why the cluster refused to make a pod for the Job with this name, most recently; `None` if it did not.
    pub async fn refusal(&self, name: &str) -> Result<Option<String>, Error> {
        let fields = format!("involvedObject.kind=Job,involvedObject.name={name},reason=FailedCreate");
        let params = ListParams::default().fields(&fields);
        let operation = Operation::ListEvents(&params);
        let events: ObjectList<Event> = decode(operation.action(), &self.ask(&operation).await?)?;
        let latest = events.items.into_iter().max_by_key(|event| event.last_timestamp.clone());
        Ok(latest.and_then(|event| event.message))
    }

    /// Asks whether this process may do something.
    pub async fn review(&self, review: &SelfSubjectAccessReview) -> Result<SelfSubjectAccessReview, Error> {
        let operation = Operation::Review(review);
        decode(operation.action(), &self.ask(&operation).await?)
    }

    /// Sends a request until it is answered, or makes no sense any more.
    async fn ask(&self, operation: &Operation<'_>) -> Result<Bytes, Error> {
        let mut pauses = Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
        let mut tries = 1;
        loop {
            let answer = timeout(ANSWERED_WITHIN, self.send(operation)).await;
            let error = match answer.unwrap_or_else(|_| Err(Error::late(ANSWERED_WITHIN))) {
                Ok(body) => return Ok(body),
                Err(error) => error,
            };
            if tries == TRIES || !operation.may_retry(&error) {
                return Err(error);
            }
            tries += 1;
            let asked = error.retry_after.unwrap_or_default().min(LONGEST_ASKED);
            tracing::debug!(%error, "a request to the API server is tried again");
            sleep(pauses.pause().max(asked)).await;
        }
    }

    async fn send(&self, operation: &Operation<'_>) -> Result<Bytes, Error> {
        let (action, namespace) = (operation.action(), self.namespace.as_str());
        let jobs = Request::new(Job::url_path(&(), Some(namespace)));
        let post = PostParams::default();
        let request = match operation {
            Operation::Create(job) => jobs.create(&post, encode(action, job)?),
            Operation::Get { path, name, .. } => Request::new(*path).get(name, &GetParams::default()),
            Operation::Delete(name, params) => jobs.delete(name, params),
            Operation::ListEvents(params) => Request::new(Event::url_path(&(), Some(namespace))).list(params),
            Operation::Review(review) => Request::new(SelfSubjectAccessReview::url_path(&(), None))
                .create(&post, encode(action, review)?),
        };
        let request = request.map_err(|error| Error::not_encoded(action, &error))?;
        let failed = |error| Error::of_client(action, namespace, &error);
        let response = self.client.send(request.map(Body::from)).await.map_err(failed)?;
        let code = response.status().as_u16();
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = header.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let body = response.into_body().collect_bytes().await.map_err(failed)?;
        if code < 400 {
            return Ok(body);
        }
        Err(Error::of_answer(action, namespace, code, &body, retry_after))
    }
}

fn encode(action: Action, object: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(object).map_err(|error| Error::not_encoded(action, &error))
}

fn decode<T: DeserializeOwned>(action: Action, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::unreadable(action, &error))
}
