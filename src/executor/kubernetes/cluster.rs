//! Creates, deletes and follows the Kubernetes Jobs of this release.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Client;
use kube::api::{DeleteParams, Preconditions};
use kube::config::{Config, InClusterError, KubeConfigOptions};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::access::{self, Access};
use super::backoff::Backoff;
use super::client::{ApiServer, LONGEST_PAUSE, SHORTEST_PAUSE};
use super::error::{Error, Trouble};
use super::manifest::{self, PodRequest};
use super::outcome::{is_over, job_of};
use super::settings::Settings;
use super::tracker::{Change, States, Tracker};
use super::watcher::Watcher;

/// Changes that wait for their receiver. Beyond it, the watch waits.
const MAX_WAITING: usize = 256;

/// How often an ended Job with the same name is deleted and made anew, before its deletion counts as too slow.
const REPLACEMENTS: u32 = 6;

/// The Jobs of one release in one namespace. Clones share their state.
#[derive(Clone)]
pub struct Kubernetes {
    server: ApiServer,
    settings: Arc<Settings>,
    tracker: Arc<Mutex<Tracker>>,
}

/// What [`Kubernetes::create`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    New,
    /// The Job existed and has not ended: it is taken up.
    Existing,
}

impl Kubernetes {
    /// Reads how to reach the API server, from the pod that this process runs in, or else from the kubeconfig. Asks the
    /// server nothing.
    ///
    /// # Errors
    /// [`Trouble::Setup`] when neither is there, or the token is missing.
    pub async fn connect(settings: Settings) -> Result<Self, Error> {
        let mut config = match Config::incluster() {
            Ok(config) => config,
            Err(InClusterError::ReadEnvironmentVariable(_)) => {
                let options = KubeConfigOptions::default();
                Config::from_kubeconfig(&options).await.map_err(|error| Error::no_cluster(&error))?
            }
            Err(error) => return Err(Error::no_token(&error)),
        };
        // The library would retry for minutes.
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|error| Error::no_cluster(&error))?;
        Ok(Self::with_client(client, settings))
    }

    /// Uses this client. Must be called on a runtime.
    pub fn with_client(client: Client, settings: Settings) -> Self {
        let server = ApiServer { client, namespace: settings.namespace.clone() };
        let tracker = Arc::new(Mutex::new(Tracker::new(settings.pending_timeout)));
        Self { server, settings: Arc::new(settings), tracker }
    }

    /// Lets Jobs be removed together with what controls the pod `name`: its Deployment, or its `ReplicaSet` if no Role
    /// allows to read that. A pod that nothing controls changes nothing.
    pub async fn owned_by_controller_of(self, name: &str) -> Result<Self, Error> {
        let pod: Option<Pod> = self.server.get("pods", name).await?;
        let Some(mut owner) = pod.and_then(|pod| controller(&pod.metadata)) else { return Ok(self) };
        if owner.kind == "ReplicaSet" {
            match self.server.get::<ReplicaSet>("replicasets", &owner.name).await {
                Ok(set) => owner = set.and_then(|set| controller(&set.metadata)).unwrap_or(owner),
                Err(error) if error.trouble == Trouble::Forbidden => {}
                Err(error) => return Err(error),
            }
        }
        let settings = Settings { owner: Some(owner), ..(*self.settings).clone() };
        Ok(Self { settings: Arc::new(settings), ..self })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Creates the Job of a job, or takes up the one that exists. One that has ended is replaced.
    ///
    /// # Errors
    /// Any; see [`Error::is_lasting`]. The Job may exist all the same if the answer of the API server was lost: a later
    /// try then takes it up.
    pub async fn create(&self, request: &PodRequest) -> Result<Created, Error> {
        let expectation = Expectation::new(self, request.job);
        let created = self.create_or_take_up(&manifest::job(&self.settings, request)).await?;
        expectation.confirm();
        Ok(created)
    }

    async fn create_or_take_up(&self, job: &Job) -> Result<Created, Error> {
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let mut pauses = Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
        for _ in 0..REPLACEMENTS {
            match self.server.create(job).await {
                Ok(()) => return Ok(Created::New),
                Err(error) if error.trouble == Trouble::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            match self.server.get::<Job>("jobs", name).await? {
                // It was deleted in between.
                None => {}
                Some(found) if job_of(&found.metadata) != job_of(&job.metadata) => {
                    return Err(Error::foreign(name));
                }
                Some(found) if !is_over(&found) => return Ok(Created::Existing),
                Some(found) => self.remove(name, found.metadata.uid).await?,
            }
            sleep(pauses.pause()).await;
        }
        Err(Error::still_deleting(name))
    }

    /// Deletes the Job that has ended, and not one that was made with its name in the meantime.
    async fn remove(&self, name: &str, uid: Option<String>) -> Result<(), Error> {
        let params = DeleteParams::background().preconditions(Preconditions { uid, resource_version: None });
        match self.server.delete(name, &params).await {
            Err(error) if error.trouble != Trouble::Conflict => Err(error),
            _ => Ok(()),
        }
    }

    /// Deletes the Job of a job; its name is free once its pods are gone. It is no error if there is none.
    pub async fn delete(&self, job: Uuid) -> Result<(), Error> {
        self.server.delete(&self.settings.job_name(job), &DeleteParams::foreground()).await
    }

    /// Starts to watch. Each change is sent once; after a restart of the process, the phases of all Jobs are sent anew.
    /// Must be called once only. Dropping the handle ends the watch.
    pub fn watch(&self) -> (AbortOnDropHandle<()>, mpsc::Receiver<Change>) {
        let (changes, receiver) = mpsc::channel(MAX_WAITING);
        let watcher = Watcher {
            server: self.server.clone(),
            selector: self.settings.selector(),
            tracker: Arc::clone(&self.tracker),
            changes,
        };
        (AbortOnDropHandle::new(tokio::spawn(watcher.run())), receiver)
    }

    /// Returns the jobs whose Kubernetes Job has not ended: the last known state if the API server is away.
    pub fn unfinished(&self) -> Vec<Uuid> {
        self.tracker().unfinished()
    }

    /// Whether another Job may be created.
    pub fn has_room(&self) -> bool {
        self.unfinished().len() < self.settings.max_in_flight
    }

    /// Counts the Jobs in each state.
    pub fn states(&self) -> States {
        self.tracker().states()
    }

    /// Asks the API server whether this process may do what it needs.
    pub async fn access(&self) -> Result<Vec<Access>, Error> {
        access::check(&self.server).await
    }

    fn tracker(&self) -> MutexGuard<'_, Tracker> {
        // What a panic leaves is mended by the next look at the cluster.
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guard that lets a Job that is being created count as unfinished.
struct Expectation<'a> {
    kubernetes: &'a Kubernetes,
    job: Uuid,
    is_confirmed: bool,
}

impl<'a> Expectation<'a> {
    fn new(kubernetes: &'a Kubernetes, job: Uuid) -> Self {
        kubernetes.tracker().expect(job);
        Self { kubernetes, job, is_confirmed: false }
    }

    /// The Job is there; the watch will see it.
    fn confirm(mut self) {
        self.is_confirmed = true;
        self.kubernetes.tracker().confirm(self.job, Instant::now());
    }
}

impl Drop for Expectation<'_> {
    fn drop(&mut self) {
        if !self.is_confirmed {
            self.kubernetes.tracker().give_up(self.job);
        }
    }
}

/// The controller of an object, as the owner of others: it neither adopts them nor waits for them when it is deleted.
fn controller(metadata: &ObjectMeta) -> Option<OwnerReference> {
    let mut owners = metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    Some(OwnerReference { controller: None, block_owner_deletion: None, ..owner.clone() })
}
