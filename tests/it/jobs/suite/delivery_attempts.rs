//! Attempts to deliver webhooks: their leases, what is recorded, and when the next one is due.

use std::time::{Duration, Instant};

use meshgate::jobs::job::MAX_DELIVERY_ATTEMPTS;
use meshgate::jobs::{DeliveryAttempt, NextAttempt, Timestamp};

use crate::jobs::check::{check_has_passed, record};
use crate::jobs::samples::{AT_ONCE, LATER, delivered, failed};
use crate::jobs::side::Side;
use crate::jobs::steps::{due, due_later, ended, none_is_due, record_attempt};

queues! {{
    a_failed_attempt_is_repeated
    an_attempt_is_repeated_when_it_is_due
    attempts_are_recorded_on_the_job
    only_the_latest_attempts_are_shown
    a_lost_delivery_is_taken_again
    a_postponed_delivery_is_due_after_its_pause
    a_postponed_delivery_is_not_an_attempt
}}

/// A pause that is meant to end.
const SHORT: Duration = Duration::from_millis(300);

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
        assert!(record_attempt(&queue, &delivery, failed(1), AT_ONCE).await);
        // The lease ended with the attempt.
        assert!(!record_attempt(&queue, &delivery, failed(2), AT_ONCE).await);
    }
    let delivery = due(&queue).await;
    assert!(record_attempt(&queue, &delivery, failed(1), NextAttempt::Never).await);
    assert!(!record_attempt(&queue, &delivery, delivered(), NextAttempt::Never).await);
    assert!(none_is_due(&queue).await);
    assert_eq!(record(&queue, delivery.job.id).await.deliveries, vec![failed(1); 6]);
}

async fn an_attempt_is_repeated_when_it_is_due(side: impl Side) {
    let queue = side.open().await;
    let (late, soon) = (ended(&queue).await.id, ended(&queue).await.id);
    let began = Instant::now();
    for _ in 0..2 {
        let delivery = due(&queue).await;
        let next = if delivery.job.id == late { LATER } else { NextAttempt::After(SHORT) };
        assert!(record_attempt(&queue, &delivery, failed(1), next).await);
    }
    assert_eq!(due_later(&queue).await.job.id, soon);
    check_has_passed(SHORT, began);
    assert!(none_is_due(&queue).await);
}

async fn attempts_are_recorded_on_the_job(side: impl Side) {
    let queue = side.open().await;
    let mut expected = ended(&queue).await;
    let error = Some("the receiver says 503".to_owned());
    let refused = DeliveryAttempt { at: Timestamp(2), status: Some(503), error };
    for attempt in [failed(1), refused, delivered()] {
        let delivery = due(&queue).await;
        assert!(record_attempt(&queue, &delivery, attempt.clone(), AT_ONCE).await);
        expected.deliveries.push(attempt);
        // A new version, but no event: nothing else of the job changes.
        expected.version += 1;
        assert_eq!(record(&queue, expected.id).await, expected);
    }
}

async fn only_the_latest_attempts_are_shown(side: impl Side) {
    let queue = side.open().await;
    let id = ended(&queue).await.id;
    let attempts: Vec<DeliveryAttempt> = (0..MAX_DELIVERY_ATTEMPTS as u64 + 5).map(failed).collect();
    for attempt in &attempts {
        assert!(record_attempt(&queue, &due(&queue).await, attempt.clone(), AT_ONCE).await);
    }
    assert_eq!(record(&queue, id).await.deliveries, attempts[5..]);
    assert_eq!(due(&queue).await.attempts as usize, attempts.len());
}

async fn a_lost_delivery_is_taken_again(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    let id = ended(&queue).await.id;
    let lost = due(&brief).await;
    let delivery = due_later(&queue).await;
    assert_eq!((delivery.id, delivery.job.id), (lost.id, id));
    assert!(delivery.token > lost.token);
    for next in [NextAttempt::Never, AT_ONCE] {
        assert!(!record_attempt(&brief, &lost, failed(1), next).await);
        assert!(!brief.postpone_delivery(&lost, Duration::ZERO).await.unwrap());
        assert!(none_is_due(&queue).await);
    }
    assert!(record_attempt(&queue, &delivery, delivered(), NextAttempt::Never).await);
    assert!(!record_attempt(&brief, &lost, failed(1), AT_ONCE).await);
    assert!(none_is_due(&queue).await);
    assert_eq!(record(&queue, id).await.deliveries, [delivered()]);
}

async fn a_postponed_delivery_is_due_after_its_pause(side: impl Side) {
    let queue = side.open().await;
    let (late, soon) = (ended(&queue).await.id, ended(&queue).await.id);
    let began = Instant::now();
    for _ in 0..2 {
        let delivery = due(&queue).await;
        let pause = if delivery.job.id == late { Duration::from_hours(1) } else { SHORT };
        assert!(queue.postpone_delivery(&delivery, pause).await.unwrap());
    }
    assert_eq!(due_later(&queue).await.job.id, soon);
    check_has_passed(SHORT, began);
    assert!(none_is_due(&queue).await);
    assert_eq!(queue.stats().await.unwrap().deliveries, 2);
    // Its client does not have to wait so long.
    assert!(queue.redeliver(late).await.unwrap());
    assert_eq!(due(&queue).await.job.id, late);
}

async fn a_postponed_delivery_is_not_an_attempt(side: impl Side) {
    let queue = side.open().await;
    let job = ended(&queue).await;
    let postponed = due(&queue).await;
    assert!(queue.postpone_delivery(&postponed, Duration::ZERO).await.unwrap());
    assert_eq!(record(&queue, job.id).await, job);
    // Whoever returned it does not hold it any more, before and after it is taken again.
    let is_held = async || {
        let answers = [
            record_attempt(&queue, &postponed, failed(1), NextAttempt::Never).await,
            queue.postpone_delivery(&postponed, Duration::ZERO).await.unwrap(),
        ];
        answers.contains(&true)
    };
    assert!(!is_held().await);
    let delivery = due(&queue).await;
    assert_eq!((delivery.id, delivery.attempts), (postponed.id, 0));
    assert!(delivery.token > postponed.token);
    assert!(!is_held().await);
    assert!(record_attempt(&queue, &delivery, delivered(), NextAttempt::Never).await);
    assert_eq!(record(&queue, job.id).await.deliveries, [delivered()]);
}
