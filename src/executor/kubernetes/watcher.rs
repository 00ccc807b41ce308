//! Watches the Jobs of a release and their pods, and sends what changes.
//!
//! ```text
//!  API server ── list, watch ──▶ Jobs ──┐
//!                                       ├──▶ tracker ── changes ──▶ receiver
//!  API server ── list, watch ──▶ pods ──┘       ▲
//!                       each second, for waits ─┘
//! ```
//!
//! While the API server is away, the last known state stays. A watch that has expired (410 Gone) begins anew with a
//! list, and what is missing in that list counts as deleted.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::store::{self, Store, Writer};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use super::backoff::Backoff;
use super::client::{ApiServer, LONGEST_PAUSE, SHORTEST_PAUSE};
use super::error::Error;
use super::tracker::{Change, Question, Tracker, View};

/// How often waits are checked.
const TICK: Duration = Duration::from_secs(1);

const GONE: u16 = 410;

/// Follows the Jobs that a selector finds.
pub struct Watcher {
    pub server: ApiServer,
    /// The label selector of Jobs and pods.
    pub selector: String,
    pub tracker: Arc<Mutex<Tracker>>,
    pub changes: mpsc::Sender<Change>,
}

/// What was found out about a Job without a pod.
type Answer = (Uuid, Result<Option<String>, Error>);

impl Watcher {
    /// Sends changes until nobody receives them any more.
    pub async fn run(self) {
        let ApiServer { client, namespace } = &self.server;
        let config = watcher::Config::default().labels(&self.selector);
        let mut job_events =
            pin!(events(Api::<Job>::namespaced(client.clone(), namespace), config.clone(), "jobs"));
        let mut pod_events = pin!(events(Api::<Pod>::namespaced(client.clone(), namespace), config, "pods"));
        let (mut jobs, mut pods) = (Reflection::<Job>::new(), Reflection::<Pod>::new());
        let mut asking: JoinSet<Answer> = JoinSet::new();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_new = tokio::select! {
                Some(event) = job_events.next() => jobs.apply(event),
                Some(event) = pod_events.next() => pods.apply(event),
                Some(answer) = asking.join_next() => answer.is_ok_and(|answer| self.note(answer)),
                _ = ticks.tick() => true,
                () = self.changes.closed() => return,
            };
            let (Some(listed), Some(_)) = (jobs.listed, pods.listed) else { continue };
            if !is_new {
                continue;
            }
            let (changes, questions) = self.look(&jobs.store, &pods.store, listed);
            for Question { job, name } in questions {
                let server = self.server.clone();
                asking.spawn(async move { (job, server.refusal(&name).await) });
            }
            for change in changes {
                if self.changes.send(change).await.is_err() {
                    return;
                }
            }
        }
    }

    fn look(&self, jobs: &Store<Job>, pods: &Store<Pod>, listed: Instant) -> (Vec<Change>, Vec<Question>) {
        let (jobs, pods) = (jobs.state(), pods.state());
        let view = View { jobs: &jobs, pods: &pods, listed };
        let now = Instant::now();
        let mut tracker = self.tracker();
        (tracker.update(&view, now), tracker.questions(&view, now))
    }

    fn tracker(&self) -> MutexGuard<'_, Tracker> {
        // A panic cannot leave the tracker half updated in a way that the next look would not mend.
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes why a Job has no pod; returns whether anything was found out.
    fn note(&self, (job, answer): Answer) -> bool {
        match answer {
            Ok(Some(refusal)) => {
                self.tracker().refused(job, refusal);
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::debug!(%job, %error, "the events of a Job without a pod cannot be read");
                false
            }
        }
    }
}

/// The objects of one kind, as far as they are known.
struct Reflection<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store: Store<K>,
    writer: Writer<K>,
    /// When the current list was begun.
    begun: Instant,
    /// When the latest complete list was begun.
    listed: Option<Instant>,
}

impl<K> Reflection<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    fn new() -> Self {
        let (store, writer) = store::store();
        Self { store, writer, begun: Instant::now(), listed: None }
    }

    /// Takes over an event; returns whether the objects may have changed. Those of a list appear all at once.
    fn apply(&mut self, event: Event<K>) -> bool {
        match event {
            Event::Init => self.begun = Instant::now(),
            Event::InitDone => self.listed = Some(self.begun),
            Event::InitApply(_) | Event::Apply(_) | Event::Delete(_) => {}
        }
        let is_new = !matches!(event, Event::Init | Event::InitApply(_));
        // The largest part of an object, and nobody reads it.
        let event = event.modify(|object| object.meta_mut().managed_fields = None);
        self.writer.apply_watcher_event(&event);
        is_new
    }
}

/// The events of all objects of one kind. While the API server fails, it is asked again with growing pauses.
fn events<K>(api: Api<K>, config: watcher::Config, resource: &'static str) -> impl Stream<Item = Event<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let source = Box::pin(watcher::watcher(api, config));
    let pauses = Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
    stream::unfold((source, pauses, false), move |(mut source, mut pauses, mut is_failing)| async move {
        loop {
            match source.next().await? {
                Ok(event) => {
                    // `Init` comes before the API server has been asked for anything.
                    if !matches!(event, Event::Init) {
                        if is_failing {
                            tracing::info!(resource, "the watch of Kubernetes works again");
                        }
                        is_failing = false;
                        pauses.reset();
                    }
                    return Some((event, (source, pauses, is_failing)));
                }
                Err(error) => {
                    if !is_failing && !is_expiry(&error) {
                        tracing::warn!(resource, %error, "the watch of Kubernetes fails; its last known state stays");
                        is_failing = true;
                    }
                    sleep(pauses.pause()).await;
                }
            }
        }
    })
}

/// Whether the watch was only too old to go on.
fn is_expiry(error: &watcher::Error) -> bool {
    let (watcher::Error::WatchError(status)
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))
    | watcher::Error::WatchFailed(kube::Error::Api(status))) = error
    else {
        return false;
    };
    status.code == GONE
}
