//! An API server with lists and watches of Jobs and pods.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Body as Content;
use futures_util::stream;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Receiver, UnboundedSender};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::samples::{job, settings};
use crate::executor::kubernetes::{Change, Kubernetes, Phase};

/// What happens to a watch.
pub enum Step {
    Added(Value),
    Modified(Value),
    Deleted(Value),
    /// 410: what has happened since the last event is forgotten.
    Expired,
    /// The connection ends.
    Cut,
}

/// A server, and a process that follows the Jobs on it.
pub struct Cluster {
    pub kubernetes: Kubernetes,
    state: Arc<Mutex<State>>,
    changes: Receiver<Change>,
    _watching: AbortOnDropHandle<()>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct State {
    /// Objects by resource: `jobs`, `pods`, `events`.
    objects: HashMap<&'static str, Vec<Value>>,
    watches: HashMap<&'static str, UnboundedSender<String>>,
    /// The status of all answers, while it is set.
    failing: Option<u16>,
    /// Lists that were asked for.
    lists: usize,
}

impl Cluster {
    pub fn new() -> Self {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Content>>();
        let state: Arc<Mutex<State>> = Arc::default();
        let serving = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                while let Some((request, send)) = handle.next_request().await {
                    let method = request.method().to_string();
                    let uri = request.uri().to_string();
                    send.send_response(state.lock().unwrap().answer(&method, &uri));
                }
            }
        });
        let kubernetes = Kubernetes::with_client(Client::new(service, "shop"), settings());
        let (watching, changes) = kubernetes.watch();
        let serving = AbortOnDropHandle::new(serving);
        Self { kubernetes, state, changes, _watching: watching, _serving: serving }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Sets what lists contain.
    pub fn set(&self, resource: &'static str, objects: Vec<Value>) {
        self.state().objects.insert(resource, objects);
    }

    /// Lets all requests fail with this status, or none.
    pub fn fail(&self, code: Option<u16>) {
        self.state().failing = code;
    }

    pub fn lists(&self) -> usize {
        self.state().lists
    }

    /// Lets this happen to the watch of a resource, once there is one.
    pub async fn step(&self, resource: &'static str, step: Step) {
        let event = |kind: &str, object: &Value| format!("{}\n", json!({"type": kind, "object": object}));
        let (line, ends) = match step {
            Step::Added(object) => (Some(event("ADDED", &object)), false),
            Step::Modified(object) => (Some(event("MODIFIED", &object)), false),
            Step::Deleted(object) => (Some(event("DELETED", &object)), false),
            Step::Expired => {
                let gone = json!({
                    "kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old",
                });
                (Some(event("ERROR", &gone)), true)
            }
            Step::Cut => (None, true),
        };
        loop {
            let watch = self.state().watches.get(resource).cloned();
            let is_done = watch.is_some_and(|watch| match &line {
                Some(line) => watch.send(line.clone()).is_ok(),
                None => !watch.is_closed(),
            });
            if is_done {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        if ends {
            self.state().watches.remove(resource);
        }
    }

    /// Waits for the next change.
    pub async fn phase(&mut self) -> Phase {
        let change = timeout(Duration::from_hours(1), self.changes.recv()).await;
        change.expect("nothing changes").expect("the watch ended").phase
    }

    /// Whether nothing changes for a while.
    pub async fn is_quiet(&mut self) -> bool {
        timeout(Duration::from_secs(30), self.changes.recv()).await.is_err()
    }
}

impl State {
    fn answer(&mut self, method: &str, uri: &str) -> Response<Content> {
        let text =
            |code: u16, text: String| Response::builder().status(code).body(Content::from(text)).unwrap();
        if let Some(code) = self.failing {
            return text(code, "away".to_owned());
        }
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let kinds = [("jobs", "JobList"), ("pods", "PodList"), ("events", "EventList")];
        let Some((resource, kind)) = kinds.into_iter().find(|(name, _)| path.ends_with(name)) else {
            return text(404, path.to_owned());
        };
        if method == "POST" {
            return text(201, job("u").to_string());
        }
        if !query.contains("watch=true") {
            self.lists += 1;
            let items = self.objects.get(resource).cloned().unwrap_or_default();
            let version = if resource == "jobs" { "batch/v1" } else { "v1" };
            let metadata = json!({"resourceVersion": "7"});
            let list = json!({"kind": kind, "apiVersion": version, "metadata": metadata, "items": items});
            return text(200, list.to_string());
        }
        let (sender, receiver) = mpsc::unbounded_channel::<String>();
        self.watches.insert(resource, sender);
        let lines = stream::unfold(receiver, |mut receiver| async move {
            let line = receiver.recv().await?;
            Some((Ok::<_, Infallible>(line), receiver))
        });
        Response::new(Content::from_stream(lines))
    }
}
