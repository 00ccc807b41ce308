//! Webhooks of jobs that have ended: when they are due.

use std::collections::HashSet;
use std::sync::Arc;

use meshgate::jobs::{GiveBack, NextAttempt};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::jobs::check::record;
use crate::jobs::samples::{AT_ONCE, LATER, calling, delivered, failed, hook, spec_of};
use crate::jobs::side::{LIMITS, Side};
use crate::jobs::steps::{
    due, ended, give_back, none_is_due, record_attempt, submit, succeed, take, take_this,
};
use crate::jobs::ways::{Handles, Way};

queues! {{
    a_webhook_is_due_once_its_job_has_ended
    jobs_without_a_webhook_have_none
    a_delivery_is_repeated_on_demand
    only_ended_jobs_with_a_webhook_are_redelivered
    the_webhook_of_a_removed_job_is_never_sent
    concurrent_takes_get_different_deliveries
    stats_count_undelivered_webhooks
}}

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
        assert!(record_attempt(queue, &delivery, delivered(), NextAttempt::Never).await, "{way:?}");
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

async fn a_delivery_is_repeated_on_demand(side: impl Side) {
    let queue = side.open().await;
    let id = ended(&queue).await.id;
    // It is due already.
    assert!(queue.redeliver(id).await.unwrap());
    let first = due(&queue).await;
    assert!(none_is_due(&queue).await);
    assert!(record_attempt(&queue, &first, failed(1), LATER).await);
    assert!(none_is_due(&queue).await);
    for next in [NextAttempt::Never, LATER, NextAttempt::Never] {
        for _ in 0..2 {
            assert!(queue.redeliver(id).await.unwrap());
        }
        let delivery = due(&queue).await;
        assert_eq!((delivery.id, delivery.job.id), (first.id, id));
        assert!(delivery.token > first.token && none_is_due(&queue).await);
        assert!(record_attempt(&queue, &delivery, delivered(), next).await);
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
        assert!(!record_attempt(&queue, &delivery, failed(1), AT_ONCE).await);
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
    assert!(record_attempt(&queue, &delivery, failed(1), LATER).await);
    assert_eq!(count().await, 1);
    for attempt in [delivered(), failed(2)] {
        assert!(queue.redeliver(id).await.unwrap());
        assert_eq!(count().await, 1);
        let delivery = due(&queue).await;
        assert!(record_attempt(&queue, &delivery, attempt, NextAttempt::Never).await);
        assert_eq!(count().await, 0);
    }
}
