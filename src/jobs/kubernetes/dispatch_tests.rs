use serde_json::{Value, json};

use super::*;
use crate::domain::ErrorCode;
use crate::jobs::job::State;
use crate::jobs::kubernetes::progress::waits_for_pod;
use crate::jobs::kubernetes::tests::{JOBS, LARGE, SMALL, World, refusal};

impl World {
    async fn dispatch(&self, claim: &Claim) {
        self.heavy.dispatch(claim, &CancellationToken::new()).await;
    }

    /// Starts to dispatch a job, and waits for the first request to the API server.
    async fn dispatching(&self, claim: &Claim) -> (tokio::task::JoinHandle<()>, CancellationToken) {
        let (heavy, claim, stopping) = (self.heavy.clone(), claim.clone(), CancellationToken::new());
        let stop = stopping.clone();
        let task = tokio::spawn(async move { heavy.dispatch(&claim, &stop).await });
        while self.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        (task, stopping)
    }
}

fn forbidden() -> (u16, Value) {
    refusal(403, "Forbidden", "jobs.batch is forbidden: User \"a\" cannot create resource \"jobs\"")
}

fn used_up() -> (u16, Value) {
    refusal(403, "Forbidden", "jobs.batch \"a\" is forbidden: exceeded quota: jobs, used: count/jobs.batch=1")
}

#[tokio::test(start_paused = true)]
async fn a_heavy_job_gets_a_kubernetes_job() {
    let world = World::new(|_| (201, json!({})));
    let claim = world.taken(LARGE).await;
    world.dispatch(&claim).await;
    assert_eq!(world.requests(), [format!("POST {JOBS}")]);
    assert!(waits_for_pod(&world.record(claim.job.id).await));
    let tokens: Vec<_> = world.heavy.board.attention().iter().map(|found| found.token).collect();
    assert_eq!(tokens, [Some(claim.token)]);
}

#[tokio::test(start_paused = true)]
async fn a_kubernetes_job_that_exists_is_taken_up() {
    let world = World::new(|request| match request.strip_prefix("GET ") {
        Some(path) => {
            let name = path.rsplit('/').next().unwrap_or_default();
            let id = name.rsplit('-').next().and_then(|simple| simple.parse::<Uuid>().ok());
            let about = json!({"name": name, "uid": "a", "labels": {"meshgate.dev/job": id}});
            (200, json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": about}))
        }
        None => refusal(409, "AlreadyExists", "jobs.batch \"a\" already exists"),
    });
    let claim = world.taken(LARGE).await;
    world.dispatch(&claim).await;
    assert_eq!(world.requests().len(), 2, "{:?}", world.requests());
    assert_eq!(world.heavy.board.attention().len(), 1);
    assert_eq!(world.record(claim.job.id).await.state, State::Running);
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_while_the_api_server_is_away() {
    let world = World::new(|_| refusal(500, "InternalError", "etcd is away"));
    let claim = world.taken(LARGE).await;
    let (task, _) = world.dispatching(&claim).await;
    world.queue.cancel(claim.job.id).await.unwrap().unwrap();
    task.await.unwrap();
    assert_eq!(world.record(claim.job.id).await.state, State::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_is_given_back_when_the_worker_stops() {
    let world = World::new(|_| refusal(503, "ServiceUnavailable", "starting"));
    let claim = world.taken(LARGE).await;
    let (task, stopping) = world.dispatching(&claim).await;
    stopping.cancel();
    task.await.unwrap();
    let record = world.record(claim.job.id).await;
    let reason = record.events.last().and_then(|event| event.reason);
    assert_eq!((record.state, record.attempts, reason), (State::Queued, 0, Some(GiveBack::Stopping)));
}

/// Makes an answer of the API server: its status and body.
type Answered = fn() -> (u16, Value);

#[tokio::test(start_paused = true)]
async fn what_no_role_allows_and_no_quota_admits_goes_to_a_worker_or_fails() {
    let cases: [(Answered, ErrorCode); 2] = [
        (forbidden, ErrorCode::EngineUnavailable),
        // Only after a while.
        (used_up, ErrorCode::NoCapacity),
    ];
    for (answer, code) in cases {
        let world = World::new(move |_| answer());
        let small = world.taken(SMALL).await;
        world.dispatch(&small).await;
        let record = world.record(small.job.id).await;
        let reason = record.events.last().and_then(|event| event.reason);
        assert_eq!((record.state, reason), (State::Queued, Some(GiveBack::Unschedulable)));
        world.queue.remove(small.job.id).await.unwrap().unwrap();

        let large = world.taken(LARGE).await;
        world.dispatch(&large).await;
        let record = world.record(large.job.id).await;
        let error = record.error.expect("it has failed");
        assert_eq!(error.code, code, "{}", error.detail);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_too_large_for_any_pod_fails_at_once() {
    let world = World::new(|_| (201, json!({})));
    let claim = world.taken(1 << 38).await;
    world.dispatch(&claim).await;
    let error = world.record(claim.job.id).await.error.map(|error| error.code);
    assert_eq!((error, world.requests()), (Some(ErrorCode::MemoryLimit), vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_while_there_are_enough_kubernetes_jobs() {
    let world = World::new(|_| (201, json!({})));
    let first = world.taken(LARGE).await;
    world.dispatch(&first).await;
    let second = world.taken(LARGE).await;
    let stopping = CancellationToken::new();
    let stop = async {
        sleep(10 * LOOK_EVERY).await;
        stopping.cancel();
    };
    tokio::join!(world.heavy.dispatch(&second, &stopping), stop);
    assert_eq!(world.record(second.job.id).await.state, State::Queued);
    assert_eq!(world.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_finds_no_place_in_the_worker_pauses() {
    let world = World::new(|_| (201, json!({})));
    let claim = world.taken(LARGE).await;
    world.heavy.refuse(&claim, &CancellationToken::new()).await;
    let record = world.record(claim.job.id).await;
    let reason = record.events.last().and_then(|event| event.reason);
    assert_eq!((record.state, record.attempts, reason), (State::Queued, 0, Some(GiveBack::ClusterBusy)));
    assert_eq!(world.queue.take("a worker").await.unwrap(), None);
}

#[test]
fn pauses_differ_from_job_to_job() {
    let pauses: Vec<Duration> =
        (0..=255).map(|random| with_jitter(LONGEST_PAUSE, Uuid::from_u128(random))).collect();
    assert!(pauses.iter().all(|pause| (LONGEST_PAUSE / 2..=LONGEST_PAUSE).contains(pause)));
    assert!(pauses.is_sorted_by(|one, other| one > other));
}
