//! Webhooks of jobs that have ended.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshgate::jobs::{Delivery, DeliveryAttempt, GiveBack, Job, NextAttempt, Timestamp};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::gateway::{LONG, PAUSE};
use crate::jobs::ways::{Handles, Way};
use crate::jobs::{
    AnyQueue, BRIEF, LIMITS, Side, calling, give_back, hook, record, spec_of, submit, succeed, take,
    take_this,
};

queues! {{
    a_webhook_is_due_once_its_job_has_ended
    jobs_without_a_webhook_have_none
    a_failed_attempt_is_repeated
    an_attempt_is_repeated_when_it_is_due
    attempts_are_recorded_on_the_job
    a_lost_delivery_is_taken_again
    a_delivery_is_repeated_on_demand
    only_ended_jobs_with_a_webhook_are_redelivered
    the_webhook_of_a_removed_job_is_never_sent
    concurrent_takes_get_different_deliveries
    stats_count_undelivered_webhooks
}}

const HOUR: Duration = Duration::from_hours(1);

/// Submits a job with a webhook, and ends it; returns its record.
async fn ended(queue: &AnyQueue) -> Job {
    let id = submit(queue, calling("a")).await.id;
    succeed(queue, &take_this(queue, id).await).await;
    record(queue, id).await
}

/// Takes the webhook that is due.
async fn due(queue: &AnyQueue) -> Delivery {
    queue.take_delivery().await.unwrap().expect("no webhook is due")
}

async fn none_is_due(queue: &AnyQueue) -> bool {
    queue.take_delivery().await.unwrap().is_none()
}

/// Waits for a webhook to be due.
async fn until_due(queue: &AnyQueue) -> Delivery {
    let began = Instant::now();
    loop {
        // Either of the two may find the lost lease.
        queue.sweep().await.unwrap();
        if let Some(delivery) = queue.take_delivery().await.unwrap() {
            return delivery;
        }
        assert!(began.elapsed() < LONG, "no webhook is ever due");
        tokio::time::sleep(PAUSE).await;
    }
}

fn failed(number: u64) -> DeliveryAttempt {
    let error = Some(format!("could not connect, \"{number}\""));
    DeliveryAttempt { at: Timestamp(number), status: None, error }
}

fn delivered() -> DeliveryAttempt {
    DeliveryAttempt { at: Timestamp(1_700_000_000_000), status: Some(204), error: None }
}

async fn record_delivery_attempt(
    queue: &AnyQueue,
    delivery: &Delivery,
    attempt: DeliveryAttempt,
    next: NextAttempt,
) -> bool {
    queue.record_delivery_attempt(delivery, attempt, next).await.unwrap()
}

async fn a_webhook_is_due_once_its_job_has_ended(side: impl Side) {
    let handles = Handles::open(&side, LIMITS).await;
    let queue = &handles.queue;
    let mut ids = HashSet::new();
    for way in Way::ALL {
        let id = way.submit(&handles, calling("a")).await.id;
        // Steps that do not end the job send nothing.
        if way != Way::Expiry && way != Way::CancelledWhileQueued {
            let claim = take_this(queue, id).await;
            queue.renew(id, claim.token, None).await.unwrap();
            assert!(none_is_due(queue).await, "{way:?}");
            assert!(give_back(queue, &claim, GiveBack::Stopping).await);
        }
        assert!(none_is_due(queue).await, "{way:?}");
        way.end(&handles, id).await;
        let job = record(queue, id).await;
        let delivery = due(queue).await;
        assert_eq!((delivery.job.id, delivery.job.state), (id, way.state()), "{way:?}");
        assert_eq!((&delivery.url, delivery.attempts), (&hook(), 0), "{way:?}");
        assert_eq!(Some(delivery.occurred_at), job.ended_at, "{way:?}");
        assert_eq!((&delivery.job.spec, &delivery.job.error), (&job.spec, &job.error), "{way:?}");
        assert_eq!(delivery.job.result, job.result, "{way:?}");
        ids.insert(delivery.id);
        assert!(none_is_due(queue).await, "{way:?}");
        assert!(record_delivery_attempt(queue, &delivery, delivered(), NextAttempt::Never).await, "{way:?}");
        assert!(none_is_due(queue).await, "{way:?}");
    }
    assert_eq!(ids.len(), Way::ALL.len());
}

async fn jobs_without_a_webhook_have_none(side: impl Side) {
    let handles = Handles::open(&side, LIMITS).await;
    for way in Way::ALL {
        let id = way.submit(&handles, spec_of("a")).await.id;
        way.end(&handles, id).await;
        assert!(none_is_due(&handles.queue).await, "{way:?}");
    }
    assert_eq!(handles.queue.stats().await.unwrap().deliveries, 0);
}

async fn a_failed_attempt_is_repeated(side: impl Side) {
    let queue = side.open().await;
    ended(&queue).await;
    let (mut id, mut token) = (None, 0);
    for attempts in 0..5 {
        let delivery = due(&queue).await;
        assert_eq!(delivery.attempts, attempts);
        assert!(delivery.token > token, "{delivery:?}");
        assert_eq!(*id.get_or_insert(delivery.id), delivery.id);
        token = delivery.token;
        let next = NextAttempt::After(Duration::ZERO);
        assert!(record_delivery_attempt(&queue, &delivery, failed(1), next).await);
        // The lease ended with the attempt.
        assert!(!record_delivery_attempt(&queue, &delivery, failed(2), next).await);
    }
    let delivery = due(&queue).await;
    assert!(record_delivery_attempt(&queue, &delivery, failed(1), NextAttempt::Never).await);
    assert!(!record_delivery_attempt(&queue, &delivery, delivered(), NextAttempt::Never).await);
    assert!(none_is_due(&queue).await);
    assert_eq!(record(&queue, delivery.job.id).await.deliveries, vec![failed(1); 6]);
}

async fn an_attempt_is_repeated_when_it_is_due(side: impl Side) {
    let queue = side.open().await;
    let (late, soon) = (ended(&queue).await.id, ended(&queue).await.id);
    let pause = Duration::from_millis(300);
    let began = Instant::now();
    for _ in 0..2 {
        let delivery = due(&queue).await;
        let next = if delivery.job.id == late { HOUR } else { pause };
        assert!(record_delivery_attempt(&queue, &delivery, failed(1), NextAttempt::After(next)).await);
    }
    let delivery = until_due(&queue).await;
    assert_eq!(delivery.job.id, soon);
    // The clock of the queue counts whole milliseconds.
    let waited = began.elapsed() + Duration::from_millis(2);
    assert!(waited >= pause, "{waited:?}");
    assert!(none_is_due(&queue).await);
}

async fn attempts_are_recorded_on_the_job(side: impl Side) {
    let queue = side.open().await;
    let before = ended(&queue).await;
    let refused = DeliveryAttempt {
        at: Timestamp(2),
        status: Some(503),
        error: Some("the receiver says 503".to_owned()),
    };
    let attempts = [failed(1), refused, delivered()];
    for (number, attempt) in attempts.iter().enumerate() {
        let delivery = due(&queue).await;
        let next = NextAttempt::After(Duration::ZERO);
        assert!(record_delivery_attempt(&queue, &delivery, attempt.clone(), next).await);
        let job = record(&queue, before.id).await;
        assert_eq!(job.deliveries, attempts[..=number]);
        // Delivering changes nothing else of the job.
        assert_eq!(
            (job.state, job.ended_at, job.expires_at),
            (before.state, before.ended_at, before.expires_at)
        );
        assert_eq!((&job.result, job.attempts), (&before.result, before.attempts));
    }
}

async fn a_lost_delivery_is_taken_again(side: impl Side) {
    let (queue, brief) = (side.open().await, side.open_with(LIMITS, BRIEF).await);
    let id = ended(&queue).await.id;
    let lost = due(&brief).await;
    let delivery = until_due(&queue).await;
    assert_eq!((delivery.id, delivery.job.id), (lost.id, id));
    assert!(delivery.token > lost.token);
    for next in [NextAttempt::Never, NextAttempt::After(Duration::ZERO)] {
        assert!(!record_delivery_attempt(&brief, &lost, failed(1), next).await);
        assert!(none_is_due(&queue).await);
    }
    assert!(record_delivery_attempt(&queue, &delivery, delivered(), NextAttempt::Never).await);
    assert!(!record_delivery_attempt(&brief, &lost, failed(1), NextAttempt::After(Duration::ZERO)).await);
    assert!(none_is_due(&queue).await);
    assert_eq!(record(&queue, id).await.deliveries, [delivered()]);
}

async fn a_delivery_is_repeated_on_demand(side: impl Side) {
    let queue = side.open().await;
    let id = ended(&queue).await.id;
    // It is due already.
    assert!(queue.redeliver(id).await.unwrap());
    let first = due(&queue).await;
    assert!(none_is_due(&queue).await);
    assert!(record_delivery_attempt(&queue, &first, failed(1), NextAttempt::After(HOUR)).await);
    assert!(none_is_due(&queue).await);
    for next in [NextAttempt::Never, NextAttempt::After(HOUR), NextAttempt::Never] {
        for _ in 0..2 {
            assert!(queue.redeliver(id).await.unwrap());
        }
        let delivery = due(&queue).await;
        assert_eq!((delivery.id, delivery.job.id), (first.id, id));
        assert!(delivery.token > first.token && none_is_due(&queue).await);
        assert!(record_delivery_attempt(&queue, &delivery, delivered(), next).await);
        assert!(none_is_due(&queue).await);
    }
    assert_eq!(record(&queue, id).await.deliveries.len(), 4);
}

async fn only_ended_jobs_with_a_webhook_are_redelivered(side: impl Side) {
    let queue = side.open().await;
    let id = submit(&queue, calling("a")).await.id;
    assert!(!queue.redeliver(id).await.unwrap());
    let claim = take(&queue).await;
    assert!(!queue.redeliver(id).await.unwrap());
    assert!(none_is_due(&queue).await);
    succeed(&queue, &claim).await;
    assert!(queue.redeliver(id).await.unwrap());
    due(&queue).await;
    let id = submit(&queue, spec_of("a")).await.id;
    succeed(&queue, &take(&queue).await).await;
    assert!(!queue.redeliver(id).await.unwrap());
    assert!(none_is_due(&queue).await);
}

async fn the_webhook_of_a_removed_job_is_never_sent(side: impl Side) {
    let queue = side.open().await;
    let (first, second, third) = (ended(&queue).await.id, ended(&queue).await.id, ended(&queue).await.id);
    queue.remove(second).await.unwrap().unwrap();
    let deliveries = [due(&queue).await, due(&queue).await];
    assert!(none_is_due(&queue).await);
    let ids: HashSet<Uuid> = deliveries.iter().map(|delivery| delivery.job.id).collect();
    assert_eq!(ids, HashSet::from([first, third]));
    // These are just being sent.
    for delivery in deliveries {
        queue.remove(delivery.job.id).await.unwrap().unwrap();
        assert!(
            !record_delivery_attempt(&queue, &delivery, failed(1), NextAttempt::After(Duration::ZERO)).await
        );
    }
    assert!(none_is_due(&queue).await);
    assert_eq!(queue.stats().await.unwrap().deliveries, 0);
}

async fn concurrent_takes_get_different_deliveries(side: impl Side) {
    let handles = [side.open().await, side.open().await];
    let mut jobs = HashSet::new();
    for _ in 0..40 {
        jobs.insert(ended(&handles[0]).await.id);
    }
    let mut senders = JoinSet::new();
    for sender in 0..10 {
        let queue = Arc::clone(&handles[sender % 2]);
        senders.spawn(async move {
            let mut taken = Vec::new();
            while let Some(delivery) = queue.take_delivery().await.unwrap() {
                taken.push((delivery.job.id, delivery.id));
            }
            taken
        });
    }
    let taken = senders.join_all().await.concat();
    assert_eq!(taken.len(), 40);
    assert_eq!(taken.iter().map(|(job, _)| *job).collect::<HashSet<_>>(), jobs);
    assert_eq!(taken.iter().map(|(_, delivery)| *delivery).collect::<HashSet<_>>().len(), 40);
}

async fn stats_count_undelivered_webhooks(side: impl Side) {
    let queue = side.open().await;
    let count = async || queue.stats().await.unwrap().deliveries;
    let id = submit(&queue, calling("a")).await.id;
    assert_eq!(count().await, 0);
    succeed(&queue, &take(&queue).await).await;
    assert_eq!(count().await, 1);
    let delivery = due(&queue).await;
    assert_eq!(count().await, 1);
    assert!(record_delivery_attempt(&queue, &delivery, failed(1), NextAttempt::After(HOUR)).await);
    assert_eq!(count().await, 1);
    for attempt in [delivered(), failed(2)] {
        assert!(queue.redeliver(id).await.unwrap());
        assert_eq!(count().await, 1);
        let delivery = due(&queue).await;
        assert!(record_delivery_attempt(&queue, &delivery, attempt, NextAttempt::Never).await);
        assert_eq!(count().await, 0);
    }
}
