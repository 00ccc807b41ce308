//! Tests of both limiters.

use std::time::Duration;

use meshgate::domain::Client;
use tokio::task::JoinSet;

use super::{Here, Side, There, key, quota};

suite! {
    { in_process: super::Here::start().await, on_redis: super::There::start().await }
    {
        exactly_the_limit_is_allowed
        refused_requests_do_not_count
        the_window_slides
        clients_have_separate_limits
        returned_tickets_do_not_count
        an_expired_ticket_can_be_returned
        a_lowered_limit_applies_at_once
        concurrent_requests_get_exactly_the_limit
        decisions_match_the_model
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Seconds, rounded up to the tests' steps of 100 s, since real time passes with Redis.
fn seconds(time: Duration) -> u64 {
    (time.as_secs_f64() / 100.0).ceil() as u64 * 100
}

async fn exactly_the_limit_is_allowed(side: impl Side) {
    let (limiter, who, quota) = (side.limiter(), key("ci"), quota(3, 600));
    for remaining in [2, 1, 0] {
        let decision = limiter.take(&who, quota).await;
        assert!(decision.ticket.is_some());
        assert_eq!((decision.remaining, seconds(decision.reset)), (remaining, 600));
    }
    side.pass(100 * SECOND);
    let refused = limiter.take(&who, quota).await;
    assert!(refused.ticket.is_none());
    assert_eq!((refused.remaining, seconds(refused.reset)), (0, 500));
    // A request is allowed at the time that the refusal announced.
    side.pass(refused.reset);
    assert!(limiter.take(&who, quota).await.ticket.is_some());
}

async fn refused_requests_do_not_count(side: impl Side) {
    let (limiter, who) = (side.limiter(), key("ci"));
    limiter.take(&who, quota(1, 600)).await;
    for _ in 0..5 {
        side.pass(100 * SECOND);
        assert!(limiter.take(&who, quota(1, 600)).await.ticket.is_none());
    }
    side.pass(100 * SECOND);
    assert!(limiter.take(&who, quota(1, 600)).await.ticket.is_some());
}

async fn the_window_slides(side: impl Side) {
    let (limiter, who) = (side.limiter(), key("ci"));
    let mut let_in = Vec::new();
    // With fixed windows, four requests would be allowed around the end of a window.
    for at in 0..20_u64 {
        if limiter.take(&who, quota(2, 600)).await.ticket.is_some() {
            let_in.push(at * 100);
        }
        side.pass(100 * SECOND);
    }
    assert_eq!(let_in, [0, 100, 600, 700, 1200, 1300, 1800, 1900]);
}

async fn clients_have_separate_limits(side: impl Side) {
    let limiter = side.limiter();
    let address = |text: &str| Client::address(text.parse().unwrap());
    let clients = [
        key("a"),
        key("b"),
        key("192.0.2.1"),
        address("192.0.2.1"),
        address("192.0.2.2"),
        address("2001:db8::1"),
    ];
    for who in &clients {
        assert!(limiter.take(who, quota(1, 600)).await.ticket.is_some(), "{who}");
    }
    for who in clients.iter().chain(&[address("2001:db8::ffff"), address("::ffff:192.0.2.1")]) {
        assert!(limiter.take(who, quota(1, 600)).await.ticket.is_none(), "{who}");
    }
}

async fn returned_tickets_do_not_count(side: impl Side) {
    let (limiter, who, quota) = (side.limiter(), key("ci"), quota(2, 600));
    let first = limiter.take(&who, quota).await.ticket.unwrap();
    side.pass(100 * SECOND);
    let second = limiter.take(&who, quota).await.ticket.unwrap();
    assert!(limiter.take(&who, quota).await.ticket.is_none());
    limiter.give_back(second).await;
    let third = limiter.take(&who, quota).await;
    assert_eq!((third.remaining, seconds(third.reset)), (0, 500));
    limiter.give_back(first).await;
    let fourth = limiter.take(&who, quota).await;
    assert_eq!((fourth.remaining, seconds(fourth.reset)), (0, 600));
    limiter.give_back(third.ticket.unwrap()).await;
    limiter.give_back(fourth.ticket.unwrap()).await;
    assert_eq!(limiter.take(&who, quota).await.remaining, 1);
}

async fn an_expired_ticket_can_be_returned(side: impl Side) {
    let (limiter, who, quota) = (side.limiter(), key("ci"), quota(2, 600));
    let old = limiter.take(&who, quota).await.ticket.unwrap();
    side.pass(600 * SECOND);
    assert_eq!(limiter.take(&who, quota).await.remaining, 1);
    limiter.give_back(old).await;
    assert_eq!(limiter.take(&who, quota).await.remaining, 0);
    assert!(limiter.take(&who, quota).await.ticket.is_none());
}

async fn a_lowered_limit_applies_at_once(side: impl Side) {
    let (limiter, who) = (side.limiter(), key("ci"));
    for _ in 0..5 {
        assert!(limiter.take(&who, quota(5, 600)).await.ticket.is_some());
        side.pass(100 * SECOND);
    }
    // The requests are 500, 400, 300, 200 and 100 s old: four must expire before a limit of two allows another.
    let refused = limiter.take(&who, quota(2, 600)).await;
    assert!(refused.ticket.is_none());
    assert_eq!(seconds(refused.reset), 400);
    side.pass(400 * SECOND);
    assert_eq!(limiter.take(&who, quota(2, 600)).await.remaining, 0);
}

async fn concurrent_requests_get_exactly_the_limit(side: impl Side) {
    for round in 0..5 {
        let mut requests = JoinSet::new();
        for _ in 0..100 {
            let limiter = side.limiter();
            requests.spawn(async move {
                limiter.take(&key(&format!("round {round}")), quota(30, 600)).await.ticket.is_some()
            });
        }
        let let_in = requests.join_all().await.into_iter().filter(|let_in| *let_in).count();
        assert_eq!(let_in, 30);
    }
}

async fn decisions_match_the_model(side: impl Side) {
    super::model::compare(&side);
}
