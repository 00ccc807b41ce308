//! From the submission of a job to its end.

use std::collections::HashSet;
use std::sync::Arc;

use meshgate::domain::options::Packaging;
use meshgate::domain::{Census, Client, Format, Options, Stage};
use meshgate::jobs::job::MAX_EVENTS;
use meshgate::jobs::{End, ExecutorChoice, GiveBack, Hold, JobSpec, Priority, Progress, State};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::jobs::check::record;
use crate::jobs::samples::{PROGRESS, client, file, hook, result_of, spec_of};
use crate::jobs::side::{LIMITS, Side};
use crate::jobs::steps::{give_back, submit, succeed, take, take_this};

queues! {{
    a_job_is_submitted_taken_and_finished
    every_field_of_a_job_is_kept
    every_change_has_a_higher_version_and_an_event
    progress_replaces_the_progress_before_it
    only_the_latest_events_are_kept
    ids_without_a_record_are_not_found
    concurrent_takes_get_different_jobs
}}

async fn a_job_is_submitted_taken_and_finished(side: impl Side) {
    let queue = side.open().await;
    assert_eq!(queue.take("a worker").await.unwrap(), None);
    let queued = submit(&queue, spec_of("a")).await;
    assert_eq!((queued.state, queued.attempts, queued.memory_factor), (State::Queued, 0, 1));
    assert_eq!((queued.started_at, queued.ended_at, queued.progress), (None, None, None));
    assert_eq!(queued.expires_at, queued.created_at.plus(LIMITS.ttl));
    assert!(!queued.cancel_requested && queued.deliveries.is_empty());
    assert_eq!(record(&queue, queued.id).await, queued);

    let claim = take_this(&queue, queued.id).await;
    assert_eq!(claim.job, record(&queue, queued.id).await);
    assert_eq!((claim.job.state, claim.job.attempts), (State::Running, 1));
    assert!(claim.job.started_at >= Some(queued.created_at) && claim.token >= 1, "{claim:?}");
    assert_eq!(queue.take("another worker").await.unwrap(), None);

    for progress in [
        Progress { stage: Stage::Importing, fraction: None },
        Progress { stage: Stage::Exporting, fraction: Some(0.25) },
    ] {
        assert_eq!(queue.renew(queued.id, claim.token, Some(progress)).await.unwrap(), Hold::Held);
        assert_eq!(record(&queue, queued.id).await.progress, Some(progress));
    }
    // A renewal alone changes nothing that a client could wait for.
    let running = record(&queue, queued.id).await;
    assert_eq!(queue.renew(queued.id, claim.token, None).await.unwrap(), Hold::Held);
    assert_eq!(record(&queue, queued.id).await, running);

    succeed(&queue, &claim).await;
    let ended = record(&queue, queued.id).await;
    assert_eq!((ended.state, ended.attempts), (State::Succeeded, 1));
    assert_eq!(ended.result, Some(result_of(claim.token)));
    assert_eq!((ended.created_at, ended.started_at), (queued.created_at, claim.job.started_at));
    assert!(ended.ended_at >= ended.started_at, "{ended:?}");
    assert_eq!(Some(ended.expires_at), ended.ended_at.map(|at| at.plus(LIMITS.ttl)));
    assert_eq!(queue.take("a worker").await.unwrap(), None);
}

async fn every_field_of_a_job_is_kept(side: impl Side) {
    let queue = side.open().await;
    let address = |text: &str| Client::address(text.parse().unwrap());
    let clients = [
        client("a:b"),
        client("}{名 前\"'\\"),
        client("local"),
        address("192.0.2.1"),
        address("2001:db8::1"),
    ];
    for client in clients.into_iter().chain([Client::Local]) {
        let spec = JobSpec {
            client,
            priority: Priority::Low,
            input: vec![file("sub/名 \"前\"\n.gltf", 1 << 33), file("", 0), file("b.bin", 7)],
            main: Some("sub/名 \"前\"\n.gltf".to_owned()),
            target: Format::Usdz,
            options: Options { packaging: Packaging::Zip, scale: 0.1, draco: true, ..Options::default() },
            bypass_cache: true,
            webhook_url: Some(hook()),
            request_id: "0198-ü".to_owned(),
            trace_parent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            retry_of: Some(Uuid::now_v7()),
            executor: Some(ExecutorChoice::Kubernetes),
            census: Some(Census {
                triangles: 1 << 50,
                uncounted_format: Some(Format::Fbx),
                ..Census::default()
            }),
        };
        let job = submit(&queue, spec.clone()).await;
        assert_eq!(job.spec, spec);
        assert_eq!(record(&side.open().await, job.id).await, job);
        let claim = take_this(&queue, job.id).await;
        assert_eq!(claim.job.spec, spec);
        succeed(&queue, &claim).await;
        let ended = record(&queue, job.id).await;
        assert_eq!((&ended.spec, ended.result), (&spec, Some(result_of(claim.token))));
        let listed = queue.list(&spec.client, None, None, 2).await.unwrap().jobs;
        assert_eq!(listed.iter().map(|job| job.id).collect::<Vec<_>>(), [job.id]);
    }
}

async fn every_change_has_a_higher_version_and_an_event(side: impl Side) {
    let queue = side.open().await;
    let mut versions = vec![submit(&queue, spec_of("a")).await];
    let id = versions[0].id;
    for reason in [GiveBack::Stopping, GiveBack::OutOfMemory] {
        let claim = take(&queue).await;
        versions.push(claim.job.clone());
        queue.renew(id, claim.token, Some(PROGRESS)).await.unwrap();
        versions.push(record(&queue, id).await);
        assert!(give_back(&queue, &claim, reason).await);
        versions.push(record(&queue, id).await);
    }
    succeed(&queue, &take(&queue).await).await;
    let ended = record(&queue, id).await;
    versions.push(ended.clone());
    for pair in versions.windows(2) {
        assert!(pair[0].version < pair[1].version, "{pair:?}");
        assert!(pair[1].events.starts_with(&pair[0].events), "{pair:?}");
    }
    let (queued, running) = (State::Queued, State::Running);
    let expected = [
        (queued, 0, None),
        (running, 1, None),
        (running, 1, None),
        (queued, 0, Some(GiveBack::Stopping)),
        (running, 1, None),
        (running, 1, None),
        (queued, 1, Some(GiveBack::OutOfMemory)),
        (running, 2, None),
        (State::Succeeded, 2, None),
    ];
    let events: Vec<_> =
        ended.events.iter().map(|event| (event.state, event.attempt, event.reason)).collect();
    assert_eq!(events, expected);
    assert!(ended.events.is_sorted_by_key(|event| event.at));
}

async fn progress_replaces_the_progress_before_it(side: impl Side) {
    let queue = side.open().await;
    let id = submit(&queue, spec_of("a")).await.id;
    let claim = take(&queue).await;
    let mut version = claim.job.version;
    for step in 1..=100_u32 {
        let progress = Progress { stage: Stage::Processing, fraction: Some(f64::from(step) / 128.0) };
        queue.renew(id, claim.token, Some(progress)).await.unwrap();
        let job = record(&queue, id).await;
        assert!(job.version > version);
        version = job.version;
        assert_eq!(job.events.len(), claim.job.events.len() + 1, "{job:?}");
        assert_eq!(job.events.last().and_then(|event| event.progress), Some(progress));
    }
}

async fn only_the_latest_events_are_kept(side: impl Side) {
    let queue = side.open().await;
    let id = submit(&queue, spec_of("a")).await.id;
    for _ in 0..MAX_EVENTS {
        let claim = take_this(&queue, id).await;
        assert!(give_back(&queue, &claim, GiveBack::Stopping).await);
    }
    succeed(&queue, &take(&queue).await).await;
    let job = record(&queue, id).await;
    assert_eq!((job.events.len(), job.events[MAX_EVENTS - 2].state), (MAX_EVENTS, State::Running));
}

async fn ids_without_a_record_are_not_found(side: impl Side) {
    let queue = side.open().await;
    submit(&queue, spec_of("a")).await;
    let id = Uuid::now_v7();
    assert_eq!(queue.job(id).await.unwrap(), None);
    assert_eq!(queue.position(id).await.unwrap(), None);
    assert_eq!(queue.renew(id, 1, None).await.unwrap(), Hold::Lost);
    assert!(!queue.finish(id, 1, End::Cancelled).await.unwrap());
    assert!(!queue.give_back(id, 1, GiveBack::Stopping).await.unwrap());
    assert_eq!(queue.cancel(id).await.unwrap(), None);
    assert_eq!(queue.remove(id).await.unwrap(), None);
    assert!(!queue.redeliver(id).await.unwrap());
    assert_eq!(queue.unknown(&[id]).await.unwrap(), [id]);
    assert_eq!(queue.job(id).await.unwrap(), None);
}

async fn concurrent_takes_get_different_jobs(side: impl Side) {
    let handles = [side.open().await, side.open().await];
    let mut submitted = HashSet::new();
    for number in 0..100 {
        submitted.insert(submit(&handles[number % 2], spec_of(&format!("client {}", number % 5))).await.id);
    }
    let mut workers = JoinSet::new();
    for worker in 0..20 {
        let queue = Arc::clone(&handles[worker % 2]);
        workers.spawn(async move {
            let mut taken = Vec::new();
            while let Some(claim) = queue.take(&format!("worker {worker}")).await.unwrap() {
                taken.push(claim.job.id);
            }
            taken
        });
    }
    let taken: Vec<Uuid> = workers.join_all().await.concat();
    assert_eq!(taken.len(), 100);
    assert_eq!(taken.into_iter().collect::<HashSet<_>>(), submitted);
}
