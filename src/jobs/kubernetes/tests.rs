//! A queue with jobs, and a cluster whose API server answers as a test wants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::Client as KubeClient;
use kube::client::Body;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::config::{self, Config, KubernetesMode, Sources};
use crate::domain::{Client, Format};
use crate::executor::kubernetes::{Kubernetes, Settings};
use crate::jobs::job::{InputFile, Job, JobSpec, Timestamp};
use crate::jobs::kubernetes::handle::KubernetesJobs;
use crate::jobs::kubernetes::policy::HeavyPolicy;
use crate::jobs::queue::{Claim, Limits, NewJob, Queue};
use crate::jobs::service::Jobs;
use crate::jobs::sqlite::SqliteQueue;
use crate::metrics::Metrics;
use crate::storage::Storage;

/// Models of jobs that a worker has the memory for, and that only a pod has: sizes in bytes.
pub const SMALL: u64 = 100 << 10;
pub const LARGE: u64 = 100 << 20;

/// The path of Kubernetes Jobs in the API.
pub const JOBS: &str = "/apis/batch/v1/namespaces/shop/jobs";

/// Kubernetes Jobs that may be unfinished at a time.
pub const IN_FLIGHT: usize = 1;

/// A job with a model of one file.
pub fn spec_of(name: &str, bytes: u64) -> JobSpec {
    let file = InputFile { name: name.to_owned(), hash: blake3::hash(b"a model"), bytes };
    JobSpec { input: vec![file], target: Format::Glb, ..JobSpec::sample(Client::Local) }
}

/// A queued job.
pub fn job(spec: JobSpec) -> Job {
    Job::queued(Uuid::now_v7(), spec, Timestamp(0), Timestamp(1))
}

/// An answer that refuses a request.
pub fn refusal(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    (code, status)
}

/// The heavy jobs of a process.
pub struct World {
    pub heavy: KubernetesJobs,
    pub queue: Arc<dyn Queue>,
    /// The requests that the API server has got: method and path.
    requests: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
}

impl World {
    /// `answer`: status and body for a request, given by its method and path.
    pub fn new(answer: impl Fn(&str) -> (u16, Value) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            jobs: 100,
            client_jobs: 100,
            bytes: 1 << 40,
            client_bytes: 1 << 40,
            ttl: Duration::from_hours(1),
        };
        let queue: Arc<dyn Queue> =
            Arc::new(SqliteQueue::open(&folder.path().join("jobs.sqlite"), limits).unwrap());
        let stored = config::Storage {
            location: None,
            ttl: Duration::from_hours(1),
            max_bytes: 1 << 20,
            presign: false,
        };
        let storage = Storage::open(&stored, &folder.path().join("store")).unwrap();
        let jobs = Jobs::new(Arc::clone(&queue), storage, folder.path().to_owned(), limits);
        let requests = Arc::default();
        let (kubernetes, policy) = (cluster(answer, Arc::clone(&requests)), policy());
        let metrics = Metrics::new().unwrap().kubernetes().unwrap();
        let heavy = KubernetesJobs::new(kubernetes, policy, jobs, metrics);
        Self { heavy, queue, requests, _folder: folder }
    }

    /// Submits a job with a model of this many bytes, and takes it.
    pub async fn taken(&self, bytes: u64) -> Claim {
        let new = NewJob { id: Uuid::now_v7(), spec: spec_of("a.fbx", bytes), idempotency: None };
        self.queue.submit(new).await.unwrap();
        self.take().await
    }

    /// Takes the only job that is queued.
    pub async fn take(&self) -> Claim {
        self.queue.take("a worker").await.unwrap().expect("no job is queued")
    }

    pub async fn record(&self, id: Uuid) -> Job {
        self.queue.job(id).await.unwrap().expect("there is no record")
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn kubernetes_config() -> config::Kubernetes {
    let config = Config::load(&Sources::default()).unwrap().kubernetes;
    config::Kubernetes { mode: KubernetesMode::Auto, ..config }
}

fn policy() -> HeavyPolicy {
    HeavyPolicy::new(&kubernetes_config(), 4 << 30).unwrap()
}

fn cluster(
    answer: impl Fn(&str) -> (u16, Value) + Send + 'static,
    requests: Arc<Mutex<Vec<String>>>,
) -> Kubernetes {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        while let Some((request, send)) = handle.next_request().await {
            let line = format!("{} {}", request.method(), request.uri().path());
            let (code, body) = answer(&line);
            requests.lock().unwrap().push(line);
            let body = Body::from(body.to_string().into_bytes());
            send.send_response(Response::builder().status(code).body(body).unwrap());
        }
    });
    let config = kubernetes_config();
    let settings = Settings {
        namespace: "shop".to_owned(),
        prefix: config.prefix.clone(),
        labels: BTreeMap::new(),
        template: PodTemplateSpec::default(),
        owner: None,
        deadline: Duration::from_hours(1),
        ttl_after_finished: config.ttl,
        queue_name: None,
        pending_timeout: config.pending_timeout,
        max_in_flight: IN_FLIGHT,
    };
    Kubernetes::with_client(KubeClient::new(service, "shop"), settings)
}
